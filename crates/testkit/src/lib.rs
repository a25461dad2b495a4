//! Claviger testkit.
