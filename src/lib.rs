//! denoscope
