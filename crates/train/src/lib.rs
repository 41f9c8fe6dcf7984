//! locus-train
