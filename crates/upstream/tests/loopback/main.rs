//! The whole crate against real servers on loopback.

#[cfg(test)]
mod account;
#[cfg(test)]
mod caps;
#[cfg(test)]
mod exchange;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod proxied;
#[cfg(test)]
mod reuse;
#[cfg(test)]
mod secured;
#[cfg(test)]
mod seen;
