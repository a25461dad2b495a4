//! Polling the change feed, which keeps the tables in memory true.
