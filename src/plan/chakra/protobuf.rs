//! As much of the protobuf encoding as a trace needs.

/// A message under construction.
#[derive(Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

impl Message {
    fn key(&mut self, field: u32, wire_type: u64) {
        push_varint(&mut self.bytes, u64::from(field) << 3 | wire_type);
    }

    /// An integer, enum or bool, zero included: members of a `oneof` are there if they are written. Negative numbers are sent as
    /// their two's complement in 64 bits.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        self.key(field, VARINT);
        push_varint(&mut self.bytes, value);
    }

    fn delimited(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, LENGTH_DELIMITED);
        push_varint(&mut self.bytes, bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn string(&mut self, field: u32, value: &str) {
        self.delimited(field, value.as_bytes());
    }

    pub(super) fn message(&mut self, field: u32, value: &Message) {
        self.delimited(field, &value.bytes);
    }

    /// Repeated numbers, packed; nothing if there are none.
    pub(super) fn numbers(&mut self, field: u32, values: &[u64]) {
        if !values.is_empty() {
            let mut packed = Vec::with_capacity(values.len());
            values.iter().for_each(|&value| push_varint(&mut packed, value));
            self.delimited(field, &packed);
        }
    }

    /// Appends the message behind its length, as in a file of several.
    pub(super) fn write_to(&self, file: &mut Vec<u8>) {
        push_varint(file, self.bytes.len() as u64);
        file.extend_from_slice(&self.bytes);
    }
}

/// Seven bits a byte, lowest first; all but the last have the top bit.
fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the encoding's own documentation: 150 as field 1, "testing" as field 2, the packed 3, 270, 86942 as field 6.
    #[test]
    fn known_messages_are_encoded_as_documented() {
        let mut message = Message::default();
        message.number(1, 150);
        message.string(2, "testing");
        message.numbers(6, &[3, 270, 86_942]);
        message.numbers(7, &[]);
        let expected = b"\x08\x96\x01\x12\x07testing\x32\x06\x03\x8e\x02\x9e\xa7\x05";
        assert_eq!(message.bytes, expected);
        let mut file = Vec::new();
        message.write_to(&mut file);
        assert_eq!((usize::from(file[0]), &file[1..]), (expected.len(), &expected[..]));
    }
}
