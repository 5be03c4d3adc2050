//! JSON written straight into a byte buffer: what serde costs per value would be most of an answer's time.

use bellwether_model::Labels;

/// Appends a text as a JSON string.
#[inline]
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    // No early end: the loop without a branch checks many bytes at a time.
    if bytes.iter().fold(false, |found, byte| found | needs_escape(*byte)) {
        return push_escaped(out, bytes);
    }
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    out.extend_from_slice(bytes);
    out.push(b'"');
}

#[inline]
fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

#[cold]
fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for byte in bytes {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control @ 0..0x20 => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
            other => out.push(*other),
        }
    }
    out.push(b'"');
}

/// Appends labels as an object.
pub fn push_labels(out: &mut Vec<u8>, labels: &Labels) {
    // The canonical bytes have eight of lengths where JSON has six of punctuation.
    out.reserve(labels.byte_len() + 2);
    out.push(b'{');
    for (at, label) in labels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_string(out, label.name);
        out.push(b':');
        push_string(out, label.value);
    }
    out.push(b'}');
}

/// Appends an array, each item by `push`.
pub fn push_array<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut push: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push(out, item);
    }
    out.push(b']');
}

/// Appends an array of strings.
pub fn push_strings<S: AsRef<str>>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = S>) {
    push_array(out, texts, |out, text| push_string(out, text.as_ref()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_reads_back_as_itself() {
        for text in
            ["", "plain", "quo\"te", "back\\slash", "new\nline\r\t", "\u{0}\u{1f}\u{7f}", "ünï→ 🦀", "</script>"]
        {
            let mut out = Vec::new();
            push_string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn labels_keep_their_order() {
        let mut out = Vec::new();
        push_labels(&mut out, &Labels::of(&[("b", "2"), ("__name__", "up"), ("A", "\"")]));
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"A":"\"","__name__":"up","b":"2"}"#);
    }

    #[test]
    fn an_array_separates_its_items() {
        let mut out = Vec::new();
        push_strings(&mut out, ["a", "b"]);
        push_strings(&mut out, [""; 0]);
        assert_eq!(out, br#"["a","b"][]"#);
    }
}
