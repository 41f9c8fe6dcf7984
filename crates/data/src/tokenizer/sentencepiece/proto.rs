//! Messages of Protocol Buffers, as far as SentencePiece's files need them (the wire format of its specification): fields one after
//! another, each a number and a value.

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    /// A whole number, a truth value or one of several names.
    Number(u64),
    /// Four bytes.
    Four([u8; 4]),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
    /// Eight bytes, which no field here has.
    Eight,
}

impl<'a> Value<'a> {
    /// Whether it is true; a message that says nothing of a field has the field's default.
    pub(super) fn switch(self) -> Result<bool, String> {
        self.number().map(|number| number != 0)
    }

    pub(super) fn number(self) -> Result<u64, String> {
        match self {
            Self::Number(number) => Ok(number),
            other => Err(format!("expected a number, found {}", other.kind())),
        }
    }

    pub(super) fn float(self) -> Result<f32, String> {
        match self {
            Self::Four(bytes) => Ok(f32::from_le_bytes(bytes)),
            other => Err(format!("expected a number of four bytes, found {}", other.kind())),
        }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(format!("expected bytes, found {}", other.kind())),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Number(_) => "a number",
            Self::Four(_) => "four bytes",
            Self::Bytes(_) => "bytes",
            Self::Eight => "eight bytes",
        }
    }
}

/// The fields of a message, in their order.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Eight)?,
            2 => {
                let n = self.varint()?;
                Value::Bytes(self.take(usize::try_from(n).unwrap_or(usize::MAX))?)
            }
            5 => match *self.take(4)? {
                [a, b, c, d] => Value::Four([a, b, c, d]),
                _ => return Err(cut_off()),
            },
            other => return Err(format!("a field of kind {other}, which no such file has")),
        };
        Ok(Some((key >> 3, value)))
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Seven bits a byte, the lowest first; the highest bit of a byte says that more follow.
    fn varint(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?.first().copied().unwrap_or_default();
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number of more than 64 bits".to_owned())
    }
}

fn cut_off() -> String {
    "the file is cut off".to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Fields, Value};

    fn all(bytes: &[u8]) -> Result<Vec<(u64, Value<'_>)>, String> {
        let (mut fields, mut found) = (Fields::of(bytes), Vec::new());
        while let Some(field) = fields.next()? {
            found.push(field);
        }
        Ok(found)
    }

    #[test]
    fn fields_of_every_kind() {
        // Number 1: 300; number 2: "ab"; number 3: 1.5; number 20: eight bytes.
        let bytes = [
            &[8, 0xAC, 2][..],
            &[18, 2, b'a', b'b'],
            &[29],
            &1.5_f32.to_le_bytes(),
            &[0xA1, 1, 1, 2, 3, 4, 5, 6, 7, 8],
        ]
        .concat();
        let four = Value::Four(1.5_f32.to_le_bytes());
        let want = vec![(1, Value::Number(300)), (2, Value::Bytes(b"ab")), (3, four), (20, Value::Eight)];
        assert_eq!(all(&bytes), Ok(want));
        assert_eq!(four.float(), Ok(1.5));
        assert!(four.number().is_err() && Value::Eight.bytes().is_err());
    }

    #[test]
    fn damaged_bytes_are_errors() {
        // Cut off in a key, a number, a length, bytes; a length beyond memory; a number without end; an unknown kind.
        let endless = [0xFF_u8; 12];
        for bytes in [
            &[0x80][..],
            &[8],
            &[8, 0x80],
            &[18],
            &[18, 5, 1],
            &[29, 1, 2],
            &[18, 0xFF, 0xFF, 0xFF, 0x7F],
            &endless,
            &[11],
        ] {
            assert!(all(bytes).is_err(), "{bytes:?}");
        }
    }
}
