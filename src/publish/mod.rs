//! Layer 3: the line on MQTT: messages ([`message`]) and the loop that owns the client ([`mqtt`]).
