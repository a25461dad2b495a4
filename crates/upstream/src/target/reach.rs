//! Which addresses lie on the public internet: the rule that holds for everything that leaves the house.

pub use claviger_domain::address::reach::is_public;
