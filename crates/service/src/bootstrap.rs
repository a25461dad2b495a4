//! The first start: secrets of our own, the first owner, workspace and key. Each step may be the last before a crash.
