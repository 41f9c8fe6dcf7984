//! locus-model
