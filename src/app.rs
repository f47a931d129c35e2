//! The whole gate, built from a configuration, run until it is told to stop.
