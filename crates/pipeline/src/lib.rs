//! locus-pipeline
