//! An HTTP/2 client that writes its frames itself, whatever they say.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A client's end.
pub struct Connection(TcpStream);

/// A frame that the gate has sent.
pub struct Frame {
    /// 0 is DATA, 1 HEADERS, 3 `RST_STREAM`, 7 GOAWAY.
    pub kind: u8,
    /// The first flag, which says of DATA and HEADERS that the stream ends.
    pub is_last: bool,
    /// 0 where it is about the connection.
    pub stream: u32,
    /// Bytes of its payload.
    pub length: usize,
}

impl Connection {
    /// One with windows as large as may be, its own included.
    pub async fn begin(stream: TcpStream) -> Self {
        let wide = frame(8, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes());
        Self::with_window(stream, 0x7fff_ffff, &wide).await
    }

    /// One whose streams have no window at all.
    pub async fn begin_shut(stream: TcpStream) -> Self {
        Self::with_window(stream, 0, &[]).await
    }

    async fn with_window(mut stream: TcpStream, window: u32, further: &[u8]) -> Self {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // SETTINGS_INITIAL_WINDOW_SIZE.
        let setting = [&[0, 4], &window.to_be_bytes()[..]].concat();
        bytes.extend(frame(4, 0, 0, &setting));
        bytes.extend(further);
        stream.write_all(&bytes).await.expect("sent");
        Self(stream)
    }

    /// Reads what comes until the gate ends the connection.
    pub async fn until_closed(&mut self) {
        let mut some = [0; 4096];
        while self.0.read(&mut some).await.is_ok_and(|length| length > 0) {}
    }

    /// Lets the stream have a gigabyte more; all together, for 0.
    pub async fn widen(&mut self, stream: u32) {
        let bytes = frame(8, 0, stream, &0x4000_0000_u32.to_be_bytes());
        self.0.write_all(&bytes).await.expect("sent");
    }

    /// The next frame.
    pub async fn read(&mut self) -> Frame {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.expect("a frame");
        let [high, middle, low, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let mut payload = vec![0; usize::try_from(length).expect("short")];
        self.0.read_exact(&mut payload).await.expect("a payload");
        Frame {
            kind,
            is_last: flags & 1 == 1,
            stream: u32::from_be_bytes(stream),
            length: payload.len(),
        }
    }

    /// Asks for `path`.
    pub async fn ask(&mut self, path: &str, stream: u32) {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "app"),
        ];
        self.send(&fields, stream).await;
    }

    /// Sends a request that is these fields, whatever they say.
    pub async fn send(&mut self, fields: &[(&str, &str)], stream: u32) {
        // END_STREAM and END_HEADERS.
        let bytes = frame(1, 0x5, stream, &literal(fields));
        self.0.write_all(&bytes).await.expect("sent");
    }
}

/// Each field with its name and its value, and none in a table (RFC 7541 §6.2.2).
fn literal(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // Longer ones have another form (§5.1).
            assert!(text.len() < 127);
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend(text.as_bytes());
        }
    }
    block
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}
