//! Layer 3: the line on MQTT: messages and the loop that owns the client; [`heatmap`] draws for people.

pub mod heatmap;
