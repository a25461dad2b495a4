//! Claviger control.
