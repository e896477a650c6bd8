use super::Framing;

/// A message of these packets, each with its content's length.
fn message(packets: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, length) in packets.iter().enumerate() {
        let total = u16::try_from(length + 8).unwrap().to_be_bytes();
        bytes.extend([16, u8::from(at + 1 == packets.len()), total[0], total[1], 0, 0, 1, 0]);
        bytes.extend(std::iter::repeat_n(7, *length));
    }
    bytes
}

#[test]
fn a_messages_end_is_found_however_it_is_cut() {
    for packets in [&[5][..], &[0], &[4088, 12], &[3, 0, 9]] {
        let bytes = message(packets);
        for step in [1, 2, 7, 8, 9, 4096, 10_000] {
            let mut framing = Framing::default();
            let chunks: Vec<&[u8]> = bytes.chunks(step).collect();
            for (at, chunk) in chunks.iter().enumerate() {
                let end = framing.end(chunk);
                assert_eq!(end.is_some(), at + 1 == chunks.len(), "{packets:?} in steps of {step}");
            }
        }
    }
}

#[test]
fn what_follows_a_message_is_left() {
    let first = message(&[4]);
    let both = [first.clone(), message(&[6])].concat();
    let mut framing = Framing::default();
    assert_eq!(framing.end(&both), Some(first.len()));
    assert_eq!(framing.end(&both[first.len()..]), Some(both.len() - first.len()));
}
