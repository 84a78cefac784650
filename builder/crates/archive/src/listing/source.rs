//! A buffered reader that knows its offset and can look ahead: formats are told by bytes that belong to them, and every
//! complaint names the place.

use std::io::{self, BufRead, Read};

const CAPACITY: usize = 64 * 1024;

/// A reader with an offset and a buffer of 64 KiB.
pub struct Source<R> {
    inner: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    failed: bool,
}

impl<R: Read> Source<R> {
    /// Starts at offset 0 of `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, buffer: vec![0; CAPACITY], start: 0, end: 0, offset: 0, failed: false }
    }

    /// Returns the number of bytes consumed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns true if the inner reader itself failed, as opposed to having delivered malformed data.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Returns the next bytes without taking them: `length` of them (at most 64 KiB), fewer only at the end.
    pub fn peek(&mut self, length: usize) -> io::Result<&[u8]> {
        let length = length.min(CAPACITY);
        if self.end - self.start < length {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < length && self.refill()? > 0 {}
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + length)])
    }

    /// Takes zero bytes up to the first other one or the end; how many there were.
    pub fn skip_zeros(&mut self) -> io::Result<u64> {
        let begin = self.offset;
        loop {
            let buffer = self.fill_buf()?;
            let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
            let at_end = zeros < buffer.len() || buffer.is_empty();
            self.consume(zeros);
            if at_end {
                return Ok(self.offset - begin);
            }
        }
    }

    /// Takes `length` bytes and shows them to `visit` piece by piece; how many there were, fewer only at the end.
    pub fn stream(&mut self, length: u64, mut visit: impl FnMut(&[u8])) -> io::Result<u64> {
        let mut left = length;
        while left > 0 {
            let buffer = self.fill_buf()?;
            let taken = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if taken == 0 {
                break;
            }
            visit(&buffer[..taken]);
            self.consume(taken);
            left -= taken as u64;
        }
        Ok(length - left)
    }

    fn refill(&mut self) -> io::Result<usize> {
        loop {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Ok(length) => {
                    self.end += length;
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.refill()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.end);
        self.offset += amount as u64;
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::Source;

    /// Gives one byte a call, as a pipe may.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    #[test]
    fn looks_ahead_and_counts() {
        let mut source = Source::new(Trickle(b"\0\0abc\0d"));
        assert_eq!(source.peek(4).unwrap(), b"\0\0ab");
        assert_eq!(source.skip_zeros().unwrap(), 2);
        assert_eq!((source.offset(), source.peek(2).unwrap()), (2, &b"ab"[..]));
        let mut seen = Vec::new();
        assert_eq!(source.stream(3, |piece| seen.extend_from_slice(piece)).unwrap(), 3);
        assert_eq!((seen.as_slice(), source.skip_zeros().unwrap(), source.offset()), (&b"abc"[..], 1, 6));
        assert_eq!(source.peek(9).unwrap(), b"d");
        assert_eq!(source.stream(9, |_| ()).unwrap(), 1);
        assert_eq!(source.peek(9).unwrap(), b"");
        assert_eq!(source.skip_zeros().unwrap(), 0);
    }
}
