//! A server on loopback that answers what a test wants, remembers what it was asked, and can break off.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A request that the server received.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    /// The first byte of the part of the body that is wanted.
    pub from: Option<usize>,
    pub body: String,
}

/// A response of the server.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body's length is not said: it ends when the connection does.
    pub endless: bool,
    /// The body comes byte by byte, again and again, until the other side hangs up.
    pub drip: bool,
    /// So many bytes of the body are sent, and the connection is closed.
    pub cut: Option<usize>,
    /// Parts are given where they are asked for.
    pub ranges: bool,
    /// Comes before the answer, so many times.
    pub interim: (String, usize),
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            endless: false,
            drip: false,
            cut: None,
            ranges: false,
            interim: (String::new(), 0),
        }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Gives parts where they are asked for, at most `cut` bytes at once.
    pub fn in_parts(mut self, cut: usize) -> Self {
        (self.ranges, self.cut) = (true, Some(cut));
        self
    }
}

/// The server. It lives as long as the tests.
pub struct Server {
    /// `127.0.0.1:PORT`
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    sent: Arc<AtomicUsize>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let sent = Arc::new(AtomicUsize::new(0));
        let (answer, seen, count) = (Arc::new(answer), requests.clone(), sent.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, seen, count) = (answer.clone(), seen.clone(), count.clone());
                std::thread::spawn(move || serve(stream, &*answer, &seen, &count));
            }
        });
        Self { address, requests, sent }
    }

    /// Counts the bytes of bodies that went out since the last time.
    pub fn sent(&self) -> usize {
        self.sent.swap(0, Ordering::SeqCst)
    }

    /// Returns all requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    answer: &(impl Fn(&Request) -> Answer + ?Sized),
    seen: &Mutex<Vec<Request>>,
    sent: &AtomicUsize,
) {
    // A client that would speak TLS.
    let mut first = [0];
    if stream.peek(&mut first).is_err() || first == [0x16] {
        return;
    }
    let mut reader = BufReader::new(&stream);
    let mut lines = reader.by_ref().lines();
    let Some(Ok(first)) = lines.next() else { return };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut request = Request { method, path, authorization: None, from: None, body: String::new() };
    let mut length = 0;
    for line in lines {
        let Ok(line) = line else { return };
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                request.authorization = Some(value.to_owned());
            }
            Some((name, value)) if name.eq_ignore_ascii_case("range") => {
                request.from = value.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse().ok());
            }
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap(),
            _ => {}
        }
    }
    if reader.take(length).read_to_string(&mut request.body).is_err() {
        return;
    }
    seen.lock().unwrap().push(request.clone());
    let Answer { mut status, mut headers, mut body, endless, drip, cut, ranges, interim } = answer(&request);
    if let (Some(from), true, 200) = (request.from, ranges, status) {
        headers.push(("Content-Range".to_owned(), format!("bytes {from}-{}/{}", body.len() - 1, body.len())));
        (status, body) = (206, body.split_off(from));
    }
    let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    if !endless {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    // Whoever has heard enough hangs up.
    let mut stream = &stream;
    for _ in 0..interim.1 {
        if stream.write_all(interim.0.as_bytes()).is_err() {
            return;
        }
    }
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(b"\r\n"));
    while drip && stream.write_all(&body[..1]).is_ok() {}
    let body = &body[..cut.unwrap_or(body.len()).min(body.len())];
    if stream.write_all(body).is_ok() && matches!(status, 200 | 206) {
        sent.fetch_add(body.len(), Ordering::SeqCst);
    }
}
