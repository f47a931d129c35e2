//! The gate's own pages (askama).
