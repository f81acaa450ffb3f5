//! From bytes to text, in the order in which browsers look for the encoding.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// How far into a page its own word for its encoding is looked for; the HTML standard's length.
const PRESCAN_BYTES: usize = 1024;

/// Decodes; what is damaged becomes U+FFFD.
pub(super) fn decode(bytes: &[u8], label: Option<&str>, is_html: bool) -> String {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return text(encoding, &bytes[mark..]);
    }
    let named = label.and_then(|label| Encoding::for_label(label.as_bytes()));
    let encoding = named.or_else(|| if is_html { of_meta(bytes) } else { None });
    let guessed = || if std::str::from_utf8(bytes).is_ok() { UTF_8 } else { WINDOWS_1252 };
    text(encoding.unwrap_or_else(guessed), bytes)
}

fn text(encoding: &'static Encoding, bytes: &[u8]) -> String {
    encoding.decode_without_bom_handling(bytes).0.into_owned()
}

/// What a `<meta charset=…>` or `<meta http-equiv=content-type content="…; charset=…">` names.
fn of_meta(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes[..bytes.len().min(PRESCAN_BYTES)].to_ascii_lowercase();
    // Labels and tags are ASCII; what is not does not matter here.
    let head = String::from_utf8_lossy(&head);
    let encoding = head.split("<meta").skip(1).find_map(|tag| {
        let tag = tag.split('>').next()?;
        let (_, value) = tag.split_once("charset")?;
        let value = value.trim_start().strip_prefix('=')?.trim_start().trim_start_matches(['"', '\'']);
        let label = value.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ';' | '/')).next()?;
        Encoding::for_label(label.as_bytes())
    })?;
    // Whoever could read the tag did not read UTF-16.
    Some(if encoding == UTF_16BE || encoding == UTF_16LE { UTF_8 } else { encoding })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_before_labels_and_labels_before_the_page() {
        let cyrillic = b"<meta charset=koi8-r>\xf0\xd2\xc9\xd7\xc5\xd4";
        for (bytes, label, expected) in [
            (&b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe"[..], Some("latin1"), "Grüße"),
            (b"\xff\xfeG\0r\0\xfc\0\xdf\0e\0", Some("utf-8"), "Grüße"),
            (b"\xfe\xff\0G\0r\0\xfc\0\xdf\0e", None, "Grüße"),
            (b"Gr\xfc\xdfe", Some("iso-8859-1"), "Grüße"),
            (b"Gr\xfc\xdfe", None, "Grüße"),
            (b"Gr\xc3\xbc\xc3\x9fe", None, "Grüße"),
            (b"Gr\xc3\xbc\xc3\x9fe", Some("no-such-charset"), "Grüße"),
            (b"\x93quoted\x94", Some("iso-8859-1"), "\u{201c}quoted\u{201d}"),
            (b"\x82\xb1\x82\xf1\x82\xc9\x82\xbf\x82\xcd", Some("Shift_JIS"), "こんにちは"),
        ] {
            assert_eq!(decode(bytes, label, true), expected);
        }
        assert!(decode(cyrillic, None, true).ends_with("Привет"));
        assert!(!decode(cyrillic, None, false).contains("Привет"), "only HTML has meta tags");
        assert!(decode(cyrillic, Some("utf-8"), true).contains('\u{fffd}'), "the server's word comes first");
    }

    #[test]
    fn both_forms_of_the_tag_are_read() {
        for tag in [
            "<META CHARSET = 'koi8-r' >",
            "<meta http-equiv=Content-Type content=\"text/html; charset=koi8-r\"/>",
            "<meta name=x content=y><meta charset=koi8-r>",
        ] {
            assert_eq!(of_meta(tag.as_bytes()).map(Encoding::name), Some("KOI8-R"), "{tag}");
        }
        assert_eq!(of_meta(b"<meta charset=utf-16>"), Some(UTF_8));
        for tag in ["<meta charset>", "<p charset=koi8-r>", "<meta charset=nonsense>", ""] {
            assert_eq!(of_meta(tag.as_bytes()), None, "{tag}");
        }
    }
}
