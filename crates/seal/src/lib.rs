//! Claviger seal.
