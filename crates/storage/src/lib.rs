//! Claviger storage.
