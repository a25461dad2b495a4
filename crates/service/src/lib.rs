//! Claviger service.
