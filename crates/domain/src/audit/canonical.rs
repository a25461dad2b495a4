//! Audit canonical.
