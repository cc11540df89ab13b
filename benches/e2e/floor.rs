//! The least that a proxy which encrypts can cost: it passes heads on as they are, and bodies through AES-256-GCM and
//! nothing else. No signatures, no hashes, no HTTP library, no TLS; a window of 1 MiB is filled from one socket, sealed
//! in place, and written to the other one at once. What the gateway takes above this is the gateway's doing; below it no
//! program gets by much that reads a socket, enciphers, and writes another. It is measured, not proven to be the least.
//!
//! **For measuring ONLY: what it writes is not safe.** Clients compare every byte and lengths must not change, so sealing
//! twice has to give the plaintext back: the key is fixed, the nonce is the number of a piece in its object, the same for
//! all objects, and tags are made and thrown away. Two objects thus give away what they differ in, and nothing shows
//! that bytes were changed. Only whole objects come back as they went in, not ranges, and not the text of errors.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use tokio::net::TcpListener;

use crate::http::{HEAD, Head, Stream, Wire, connect};

/// Bytes of a body that are read, sealed and written at once: fewer cost more, up to eight times as many no less.
const WINDOW: usize = 1024 * 1024;
const _: () = assert!(HEAD <= WINDOW && WINDOW.is_multiple_of(PIECE));
/// Bytes under one nonce, as many as the gateway has in a segment.
const PIECE: usize = 64 * 1024;

/// The proxy.
pub struct Floor {
    store: SocketAddr,
    key: LessSafeKey,
    wires: Free<Wire>,
    windows: Free<Box<[u8]>>,
}

/// What is not in use now; the last one that was comes first, as it is still in the caches.
struct Free<T>(Mutex<Vec<T>>);

impl<T> Free<T> {
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give(&self, item: T) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(item);
    }
}

impl Floor {
    /// In front of a store without TLS.
    pub fn new(store: SocketAddr) -> Arc<Self> {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("a key of 32 bytes");
        Arc::new(Self {
            store,
            key: LessSafeKey::new(key),
            wires: Free::new(),
            windows: Free::new(),
        })
    }

    /// Answers connections until the process ends.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (socket, _) = listener.accept().await.expect("accept");
            let _ = socket.set_nodelay(true);
            let floor = Arc::clone(&self);
            tokio::spawn(async move {
                let stream: Box<dyn Stream> = Box::new(socket);
                // A broken connection is the client's to report.
                let _ = floor.connection(Wire::new(stream)).await;
            });
        }
    }

    async fn connection(&self, mut client: Wire) -> io::Result<()> {
        while let Some(request) = client.head().await? {
            let mut store = match self.wires.take() {
                Some(kept) => kept,
                None => connect(self.store, None).await?,
            };
            self.pass(&request, request.length(), &mut client, &mut store)
                .await?;
            let answer = store.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let length = if request.start().starts_with("HEAD ") {
                0
            } else {
                answer.length()
            };
            self.pass(&answer, length, &mut store, &mut client).await?;
            self.wires.give(store);
        }
        Ok(())
    }

    /// A head and the body behind it: together, where all of it came with the head.
    async fn pass(
        &self,
        head: &Head,
        length: u64,
        from: &mut Wire,
        to: &mut Wire,
    ) -> io::Result<()> {
        let head = head.as_bytes();
        let window = self.windows.take();
        let mut window = window.unwrap_or_else(|| vec![0; WINDOW].into_boxed_slice());
        if length <= from.waiting() as u64 {
            let whole = &mut window[..head.len() + length as usize];
            let (start, body) = whole.split_at_mut(head.len());
            start.copy_from_slice(head);
            from.fill(body).await?;
            self.encipher(body, 0);
            to.send(whole, &[], |_| {}).await?;
        } else {
            to.send(head, &[], |_| {}).await?;
            let mut at = 0;
            while at < length {
                let body = &mut window[..(length - at).min(WINDOW as u64) as usize];
                from.fill(body).await?;
                self.encipher(body, at);
                to.send(body, &[], |_| {}).await?;
                at += body.len() as u64;
            }
        }
        self.windows.give(window);
        Ok(())
    }

    /// Seals what lies `at` bytes into an object, or opens it again. NOT safe: see above.
    fn encipher(&self, data: &mut [u8], at: u64) {
        for (number, piece) in (at / PIECE as u64..).zip(data.chunks_mut(PIECE)) {
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&number.to_be_bytes());
            let nonce = Nonce::assume_unique_for_key(nonce);
            let tag = self
                .key
                .seal_in_place_separate_tag(nonce, Aad::empty(), piece);
            drop(tag.expect("a piece that is short enough"));
        }
    }
}
