//! Bytes as hexadecimal digits.

use crate::Digest;

/// Appends the two lower-case digits of each byte to `text`.
pub fn push(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(half.into(), 16));
        }
    }
}

/// Returns the lower-case digits of `bytes`, two for each.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    push(&mut text, bytes);
    text
}

/// Returns the bytes of pairs of digits in either case, or `None` where a character is not a digit or the last one stands alone.
pub fn decode(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?)).collect()
}

/// Returns the SHA-256 digest of 64 digits.
pub fn digest(digits: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    let mut digits = digits.bytes();
    for byte in &mut digest {
        let mut digit = || char::from(digits.next()?).to_digit(16);
        *byte = u8::try_from((digit()? << 4) | digit()?).ok()?;
    }
    digits.next().is_none().then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_as_they_are_written() {
        assert_eq!(decode("00fF1a"), Some(vec![0, 255, 26]));
        assert_eq!(encode(&[0, 255, 26]), "00ff1a");
        assert_eq!(decode(""), Some(vec![]));
        let text = "00ff".repeat(16);
        let whole = digest(&text).unwrap();
        assert_eq!(encode(&whole), text);
        assert_eq!(digest(&text.to_uppercase()), Some(whole));
        for bad in [&text[1..], &text[2..], &format!("{text}00"), &"zz".repeat(32)] {
            assert_eq!(digest(bad), None, "{bad}");
        }
        for bad in ["0", "0g", "-1", "0x00", "ä"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
