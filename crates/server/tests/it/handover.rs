//! How a key comes to whoever uses it, and what is found where none should be.

mod files;
mod running;
