//! Fixed windows that begin at midnight UTC.
