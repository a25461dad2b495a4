//! Claviger gateway.
