//! The generic cell rate algorithm (ITU-T I.371, "virtual scheduling"): a leaky bucket in one timestamp.
