//! Packets of MQTT 5 as a strict broker reads them: what the standard forbids is a [`Violation`], also
//! what brokers usually let pass.

use std::io::Read;

/// Something that a client must not do.
#[derive(Debug)]
pub struct Violation {
    /// Reason code of the DISCONNECT that follows.
    pub code: u8,
    /// Rule that is broken.
    pub words: String,
}

impl Violation {
    /// A violation with its reason code.
    pub fn new(code: u8, words: impl Into<String>) -> Self {
        let words = words.into();
        Violation { code, words }
    }
}

/// Reason code of bytes that are no packet.
pub const MALFORMED: u8 = 0x81;
/// Reason code of a packet that must not come, or not now.
pub const PROTOCOL: u8 = 0x82;

fn malformed<T>(words: impl Into<String>) -> Result<T, Violation> {
    Err(Violation::new(MALFORMED, words))
}

fn protocol<T>(words: impl Into<String>) -> Result<T, Violation> {
    Err(Violation::new(PROTOCOL, words))
}

/// Value of a property.
#[derive(Debug, Clone, PartialEq)]
pub enum PropertyValue {
    /// Of one, two or four bytes, or of variable length.
    Number(u32),
    /// A string.
    Text(String),
    /// Bytes.
    Data(Vec<u8>),
    /// A user property.
    Pair(String, String),
}

/// Properties of a packet: identifier and value, in their order.
pub type Properties = Vec<(u8, PropertyValue)>;

/// Message that a client publishes, or that a broker passes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Topic name.
    pub topic: String,
    /// Content.
    pub payload: Vec<u8>,
    /// 0 or 1.
    pub qos: u8,
    /// True if the broker is to keep it.
    pub is_retained: bool,
    /// Properties that travel with it.
    pub properties: Properties,
}

/// What a client says of itself.
#[derive(Debug)]
pub struct Connect {
    /// Name of the client.
    pub client: String,
    /// True if an earlier session is to be forgotten.
    pub is_clean: bool,
    /// Seconds of silence after which the client is gone, by half more.
    pub keep_alive: u16,
    /// Messages at QoS 1 that it takes without having acknowledged them.
    pub receive_max: u16,
}

/// Packet of a client.
#[derive(Debug)]
pub enum Packet {
    /// The first packet.
    Connect(Connect),
    /// A message; its number at QoS 1, and whether it comes again.
    Publish {
        /// Number at QoS 1.
        id: Option<u16>,
        /// True for one that was sent before.
        is_again: bool,
        /// The message.
        message: Message,
    },
    /// Acknowledgement of a message of ours.
    PubAck(u16),
    /// Topic filters, each with its highest QoS.
    Subscribe(u16, Vec<(String, u8)>),
    /// A sign of life.
    Ping,
    /// The orderly end.
    Disconnect,
}

const CONNECT_KEYS: &[u8] = &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27];
const WILL_KEYS: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26];
const PUBLISH_KEYS: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26];
const ACK_KEYS: &[u8] = &[0x1f, 0x26];
const SUBSCRIBE_KEYS: &[u8] = &[0x0b, 0x26];
const DISCONNECT_KEYS: &[u8] = &[0x11, 0x1f, 0x26];
const USER_PROPERTY: u8 = 0x26;
const RECEIVE_MAX: u8 = 0x21;
const TOPIC_ALIAS: u8 = 0x23;
/// Property of the topic that an answer is wanted on.
pub const RESPONSE_TOPIC: u8 = 0x08;

/// Bytes of a packet that are not read yet.
struct Unread<'a>(&'a [u8]);

impl<'a> Unread<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Violation> {
        let Some((taken, rest)) = self.0.split_at_checked(count) else {
            return malformed("the packet ends in the middle of a value");
        };

        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Violation> {
        Ok(self.bytes(1)?[0])
    }

    fn two(&mut self) -> Result<u16, Violation> {
        let bytes = self.bytes(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn four(&mut self) -> Result<u32, Violation> {
        let high = u32::from(self.two()?);
        let low = u32::from(self.two()?);
        Ok(high << 16 | low)
    }

    fn data(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.two()?;
        self.bytes(usize::from(length))
    }

    /// A string. Besides what is no UTF-8, the standard forbids U+0000, and lets a receiver cut the
    /// connection for control characters and noncharacters (1.5.4): this one does.
    fn text(&mut self) -> Result<String, Violation> {
        let Ok(text) = std::str::from_utf8(self.data()?) else {
            return malformed("a string that is no UTF-8");
        };

        if let Some(bad) = text.chars().find(|c| c.is_control() || is_noncharacter(*c)) {
            return malformed(format!("the character {bad:?} in the string {text:?}"));
        }

        Ok(text.to_owned())
    }

    /// An integer of variable length, in as few bytes as possible.
    fn number(&mut self) -> Result<u32, Violation> {
        let mut number = 0;
        for place in 0..4 {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 != 0 {
                continue;
            }

            return match (place, byte) {
                (1.., 0) => malformed("a length in more bytes than it needs"),
                _ => Ok(number),
            };
        }

        malformed("a length of more than four bytes")
    }

    /// Properties of which each is allowed, and none but a user property comes twice.
    fn properties(&mut self, allowed: &[u8]) -> Result<Properties, Violation> {
        let length = self.number()?;
        let mut inside = Unread(self.bytes(length as usize)?);
        let mut found: Properties = vec![];
        while !inside.0.is_empty() {
            let key = inside.byte()?;
            if !allowed.contains(&key) {
                return protocol(format!("the property {key:#04x} in this packet"));
            }

            if key != USER_PROPERTY && found.iter().any(|(known, _)| *known == key) {
                return protocol(format!("the property {key:#04x} twice"));
            }

            found.push((key, inside.property(key)?));
        }

        Ok(found)
    }

    fn property(&mut self, key: u8) -> Result<PropertyValue, Violation> {
        Ok(match key {
            0x01 | 0x17 | 0x19 => match self.byte()? {
                flag @ (0 | 1) => PropertyValue::Number(u32::from(flag)),
                other => return protocol(format!("the property {key:#04x} is {other}")),
            },
            0x21..=0x23 => PropertyValue::Number(u32::from(self.two()?)),
            0x02 | 0x11 | 0x18 | 0x27 => PropertyValue::Number(self.four()?),
            0x0b => PropertyValue::Number(self.number()?),
            0x09 | 0x16 => PropertyValue::Data(self.data()?.to_vec()),
            USER_PROPERTY => PropertyValue::Pair(self.text()?, self.text()?),
            _ => PropertyValue::Text(self.text()?),
        })
    }

    fn end(&self) -> Result<(), Violation> {
        match self.0.len() {
            0 => Ok(()),
            more => malformed(format!("{more} bytes behind the end of the packet")),
        }
    }
}

fn is_noncharacter(letter: char) -> bool {
    let code = u32::from(letter);
    code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code)
}

/// Number of a property that has one.
fn number_of(properties: &Properties, key: u8) -> Option<u32> {
    properties.iter().find_map(|(known, value)| match value {
        PropertyValue::Number(number) if *known == key => Some(*number),
        _ => None,
    })
}

/// A topic name: no filter, and not empty.
fn check_topic(topic: &str) -> Result<(), Violation> {
    if topic.is_empty() || topic.contains(['+', '#']) {
        return Err(Violation::new(0x90, format!("the topic name {topic:?}")));
    }

    Ok(())
}

/// A topic filter: wildcards stand for whole levels, and `#` for the last ones.
fn check_filter(filter: &str) -> Result<(), Violation> {
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len() - 1;
    let is_good = levels.iter().enumerate().all(|(i, level)| match *level {
        "+" => true,
        "#" => i == last,
        name => !name.contains(['+', '#']),
    });

    if filter.is_empty() || !is_good {
        return Err(Violation::new(0x8f, format!("the topic filter {filter:?}")));
    }

    Ok(())
}

/// Reads the next packet: its first byte, and all behind its length. The outer error is the link's.
pub fn read(
    stream: &mut impl Read,
    packet_max: usize,
) -> std::io::Result<Result<(u8, Vec<u8>), Violation>> {
    let mut head = [0];
    stream.read_exact(&mut head)?;
    let mut length = vec![];
    while length.last().is_none_or(|byte| byte & 0x80 != 0) && length.len() < 4 {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        length.push(byte[0]);
    }

    let count = match Unread(&length).number() {
        Ok(count) => count as usize,
        Err(violation) => return Ok(Err(violation)),
    };

    let size = 1 + length.len() + count;
    if size > packet_max {
        let words = format!("a packet of {size} bytes, and {packet_max} may come");
        return Ok(Err(Violation::new(0x95, words)));
    }

    let mut body = vec![0; count];
    stream.read_exact(&mut body)?;
    Ok(Ok((head[0], body)))
}

/// The packet of a first byte and the bytes behind its length.
///
/// # Errors
/// Whatever a client must not send.
pub fn parse(head: u8, body: &[u8]) -> Result<Packet, Violation> {
    let flags = head & 15;
    let expected = match head >> 4 {
        3 => flags, // of its own meaning
        8 | 10 => 2,
        _ => 0,
    };

    if flags != expected {
        return malformed(format!(
            "the flags {flags:#06b} of a packet of type {}",
            head >> 4
        ));
    }

    let mut unread = Unread(body);
    let packet = match head >> 4 {
        1 => Packet::Connect(connect(&mut unread)?),
        3 => publish(flags, &mut unread)?,
        4 => Packet::PubAck(puback(&mut unread)?),
        8 => subscribe(&mut unread)?,
        12 => Packet::Ping,
        14 => disconnect(&mut unread)?,
        other => return protocol(format!("a packet of type {other}")),
    };

    unread.end()?;
    Ok(packet)
}

fn connect(unread: &mut Unread) -> Result<Connect, Violation> {
    let name = unread.text()?;
    let level = unread.byte()?;
    if name != "MQTT" || level != 5 {
        return Err(Violation::new(
            0x84,
            format!("the protocol {name:?}, level {level}"),
        ));
    }

    let flags = unread.byte()?;
    let has_will = flags & 4 != 0;
    let will_qos = flags >> 3 & 3;
    let will_rest = flags & 0b0011_1000;
    if flags & 1 != 0 || will_qos == 3 || (!has_will && will_rest != 0) {
        return malformed(format!("the flags {flags:#010b} of CONNECT"));
    }

    let keep_alive = unread.two()?;
    let properties = unread.properties(CONNECT_KEYS)?;
    let receive_max = number_of(&properties, RECEIVE_MAX).unwrap_or(65_535);
    if receive_max == 0 || number_of(&properties, 0x27) == Some(0) {
        return protocol("a maximum of 0");
    }

    let client = unread.text()?;
    if has_will {
        unread.properties(WILL_KEYS)?;
        check_topic(&unread.text()?)?;
        unread.data()?;
    }

    if flags & 0x80 != 0 {
        unread.text()?;
    }

    if flags & 0x40 != 0 {
        unread.data()?;
    }

    Ok(Connect {
        client,
        is_clean: flags & 2 != 0,
        keep_alive,
        receive_max: receive_max as u16,
    })
}

fn publish(flags: u8, unread: &mut Unread) -> Result<Packet, Violation> {
    let qos = flags >> 1 & 3;
    let is_again = flags & 8 != 0;
    if qos > 1 {
        return malformed(format!("QoS {qos}, which this broker has not granted"));
    }

    if is_again && qos == 0 {
        return malformed("a repetition at QoS 0");
    }

    let topic = unread.text()?;
    let id = if qos == 0 {
        None
    } else {
        Some(packet_id(unread)?)
    };
    let properties = unread.properties(PUBLISH_KEYS)?;
    if number_of(&properties, TOPIC_ALIAS).is_some() {
        return Err(Violation::new(
            0x94,
            "a topic alias, of which none were offered",
        ));
    }

    check_topic(&topic)?;
    for (key, value) in &properties {
        if let (RESPONSE_TOPIC, PropertyValue::Text(answer)) = (*key, value) {
            check_topic(answer)?;
        }
    }

    let message = Message {
        topic,
        payload: std::mem::take(&mut unread.0).to_vec(),
        qos,
        is_retained: flags & 1 != 0,
        properties,
    };

    Ok(Packet::Publish {
        id,
        is_again,
        message,
    })
}

fn packet_id(unread: &mut Unread) -> Result<u16, Violation> {
    match unread.two()? {
        0 => protocol("the packet number 0"),
        id => Ok(id),
    }
}

fn puback(unread: &mut Unread) -> Result<u16, Violation> {
    let id = packet_id(unread)?;
    // Success without properties may leave out both.
    if !unread.0.is_empty() {
        unread.byte()?;
    }

    if !unread.0.is_empty() {
        unread.properties(ACK_KEYS)?;
    }

    Ok(id)
}

fn subscribe(unread: &mut Unread) -> Result<Packet, Violation> {
    let id = packet_id(unread)?;
    unread.properties(SUBSCRIBE_KEYS)?;
    let mut filters = vec![];
    while !unread.0.is_empty() {
        let filter = unread.text()?;
        check_filter(&filter)?;
        let options = unread.byte()?;
        if options & 0b1100_0000 != 0 || options & 3 == 3 || options >> 4 & 3 == 3 {
            return protocol(format!("the options {options:#010b} of {filter:?}"));
        }

        filters.push((filter, options & 3));
    }

    if filters.is_empty() {
        return protocol("a subscription to nothing");
    }

    Ok(Packet::Subscribe(id, filters))
}

fn disconnect(unread: &mut Unread) -> Result<Packet, Violation> {
    if !unread.0.is_empty() {
        unread.byte()?;
    }

    if !unread.0.is_empty() {
        unread.properties(DISCONNECT_KEYS)?;
    }

    Ok(Packet::Disconnect)
}

/// A packet of a first byte and all that stands behind its length.
pub fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![head];
    packet.extend(number(body.len()));
    packet.extend(body);
    packet
}

fn number(mut left: usize) -> Vec<u8> {
    let mut bytes = vec![];
    loop {
        let low = (left & 0x7f) as u8;
        left >>= 7;
        if left == 0 {
            bytes.push(low);
            return bytes;
        }

        bytes.push(low | 0x80);
    }
}

/// A string or bytes, with their length in front.
fn counted(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("tests send short strings");
    [&length.to_be_bytes(), bytes].concat()
}

/// The packet of a message that goes to a client, with its number at QoS 1.
pub fn publish_packet(message: &Message, id: Option<u16>, is_again: bool) -> Vec<u8> {
    let mut body = counted(message.topic.as_bytes());
    body.extend(id.map(u16::to_be_bytes).into_iter().flatten());
    let mut properties = vec![];
    for (key, value) in &message.properties {
        properties.push(*key);
        match value {
            PropertyValue::Number(number) => properties.extend(number.to_be_bytes()),
            PropertyValue::Text(text) => properties.extend(counted(text.as_bytes())),
            PropertyValue::Data(data) => properties.extend(counted(data)),
            PropertyValue::Pair(key, value) => {
                properties.extend(counted(key.as_bytes()));
                properties.extend(counted(value.as_bytes()));
            }
        }
    }

    body.extend(number(properties.len()));
    body.extend(properties);
    body.extend(&message.payload);
    let qos = if id.is_some() { 2 } else { 0 };
    let again = if is_again { 8 } else { 0 };
    packet(0x30 | qos | again | u8::from(message.is_retained), &body)
}
