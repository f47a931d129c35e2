//! Where WebSocket frames end (RFC 6455 §5.2), so that a close frame can be put between two of them. Pure.

/// Follows one direction of a connection through its frames. Payloads are skipped, never looked at.
#[derive(Debug, Default)]
pub struct FrameTracker {
    header: [u8; 14],
    header_length: usize,
    payload_left: u64,
}

impl FrameTracker {
    /// Whether the bytes so far end with a whole frame.
    pub fn is_between_frames(&self) -> bool {
        self.header_length == 0 && self.payload_left == 0
    }

    /// Follows `chunk`, and tells where in it the last frame ended: none where no frame ended in it.
    pub fn follow(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut at = 0;
        let mut last_end = None;
        while at < chunk.len() {
            if self.payload_left > 0 {
                let step = usize::try_from(self.payload_left)
                    .unwrap_or(usize::MAX)
                    .min(chunk.len() - at);
                self.payload_left -= step as u64;
                at += step;
            } else {
                self.header[self.header_length] = chunk[at];
                self.header_length += 1;
                at += 1;
                if self.header_length == header_length(&self.header, self.header_length) {
                    self.payload_left = payload_length(&self.header);
                    self.header_length = 0;
                }
            }
            if self.is_between_frames() {
                last_end = Some(at);
            }
        }
        last_end
    }
}

/// A close frame (RFC 6455 §5.5.1) with `code` and no reason; masked, as clients must, with `mask`.
pub fn close_frame(code: u16, mask: Option<[u8; 4]>) -> Vec<u8> {
    let code = code.to_be_bytes();
    match mask {
        None => vec![0x88, 2, code[0], code[1]],
        Some(mask) => {
            let [a, b, c, d] = mask;
            vec![0x88, 0x82, a, b, c, d, code[0] ^ a, code[1] ^ b]
        }
    }
}

/// The whole header's length, as far as its first `have` bytes tell; more than `have` until they tell all.
fn header_length(header: &[u8; 14], have: usize) -> usize {
    if have < 2 {
        return 2;
    }
    let extended = match header[1] & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if header[1] & 0x80 != 0 { 4 } else { 0 };
    2 + extended + mask
}

fn payload_length(header: &[u8; 14]) -> u64 {
    match header[1] & 0x7f {
        126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
        127 => {
            let mut length = [0; 8];
            length.copy_from_slice(&header[2..10]);
            u64::from_be_bytes(length)
        }
        short => u64::from(short),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mut frame = vec![0x82];
        let mask_bit = if masked { 0x80 } else { 0 };
        if length < 126 {
            frame.push(mask_bit + u8::try_from(length).unwrap());
        } else if let Ok(short) = u16::try_from(length) {
            frame.push(mask_bit + 126);
            frame.extend(short.to_be_bytes());
        } else {
            frame.push(mask_bit + 127);
            frame.extend((length as u64).to_be_bytes());
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        frame.extend(std::iter::repeat_n(7, length));
        frame
    }

    #[test]
    fn a_close_frame_is_a_frame() {
        for mask in [None, Some([9, 8, 7, 6])] {
            let frame = close_frame(1001, mask);
            assert_eq!(FrameTracker::default().follow(&frame), Some(frame.len()));
        }
        assert_eq!(close_frame(1001, None), [0x88, 2, 3, 0xe9]);
    }

    #[test]
    fn the_middle_of_a_frame_is_no_place_for_another() {
        let frame = frame(300, true);
        let mut tracker = FrameTracker::default();
        assert_eq!(tracker.follow(&frame[..3]), None);
        assert!(!tracker.is_between_frames());
        assert_eq!(tracker.follow(&frame[3..]), Some(frame.len() - 3));
        assert!(tracker.is_between_frames());
    }

    proptest! {
        #[test]
        fn frames_end_where_they_end_however_they_are_cut(
            lengths in prop::collection::vec((0_usize..70_000, any::<bool>()), 1..5),
            cuts in prop::collection::vec(1_usize..5_000, 1..40),
        ) {
            let mut stream = Vec::new();
            let mut ends = Vec::new();
            for (length, masked) in lengths {
                stream.extend(frame(length, masked));
                ends.push(stream.len());
            }
            let mut tracker = FrameTracker::default();
            let mut at = 0;
            let mut cuts = cuts.iter().cycle();
            while at < stream.len() {
                let next = (at + cuts.next().unwrap()).min(stream.len());
                let expected = ends.iter().rev().find(|end| (at + 1..=next).contains(*end)).map(|end| end - at);
                prop_assert_eq!(tracker.follow(&stream[at..next]), expected);
                prop_assert_eq!(tracker.is_between_frames(), ends.contains(&next));
                at = next;
            }
        }

        #[test]
        fn any_bytes_are_followed_without_harm(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..20)) {
            let mut tracker = FrameTracker::default();
            for chunk in chunks {
                if let Some(end) = tracker.follow(&chunk) {
                    prop_assert!(end <= chunk.len());
                }
            }
        }
    }
}
