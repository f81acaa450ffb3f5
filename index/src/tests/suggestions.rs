//! Words of the index that are like those that were typed.

use warren_protocol::suggest::Typed;

use super::*;

fn typed(words: &[&str], open: bool) -> Typed {
    Typed { words: words.iter().map(|word| (*word).to_owned()).collect(), open }
}

fn library() -> (TempDir, PartitionIndex) {
    let definition = definition(
        r#"{"fields":{"title":{"type":"text","analyzer":"english"},"body":{"type":"text"},"tag":{"type":"keyword"}}}"#,
    );
    filled(
        &definition,
        &[
            ("a", r#"{"title":"Happiness is a Database","body":"web server","tag":"webtag"}"#),
            ("b", r#"{"title":"databases","body":"web service"}"#),
            ("c", r#"{"title":["a happy query"],"body":"The webmaster","note":"websocket"}"#),
        ],
    )
}

#[test]
fn words_are_completed_from_texts_and_dynamic_strings() {
    let (_directory, index) = library();
    let completions = |prefix| index.suggest(&typed(&[prefix], true)).unwrap().completions.into_iter().collect::<Vec<_>>();
    let counted = |words: &[(&str, u64)]| words.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect::<Vec<_>>();
    assert_eq!(completions("web"), counted(&[("web", 2), ("webmaster", 1), ("websocket", 1)]));
    assert_eq!(completions("serv"), counted(&[("server", 1), ("service", 1)]));
    // Stems are kept, words are answered.
    assert_eq!(completions("datab"), counted(&[("database", 2)]));
    assert_eq!(completions("happi").len(), 1);
    assert_eq!(completions("happy"), counted(&[("happy", 2)]));
    assert!(completions("w").is_empty());
    assert!(index.suggest(&typed(&["web"], false)).unwrap().completions.is_empty());
}

#[test]
fn similar_words_come_with_their_counts() {
    let (_directory, index) = library();
    let found = index.suggest(&typed(&["servre", "web", "ab"], false)).unwrap();
    assert_eq!(found.words[0].0, 0);
    assert_eq!(found.words[0].1.get("server"), Some(&1));
    assert_eq!(found.words[1].0, 2);
    assert!(!found.words[1].1.contains_key("web"), "a word is not like itself");
    assert_eq!(found.words[2], (0, Default::default()));
}
