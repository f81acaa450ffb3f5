//! How texts are cut into words.

use tantivy::tokenizer::{
    Language, LowerCaser, RawTokenizer, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter, TextAnalyzer,
    TokenizerManager,
};
use warren_protocol::definition::Analyzer;

/// The name of the analyzer without stemming.
pub(crate) const STANDARD: &str = "standard";
/// The name of the one that leaves a value whole.
pub(crate) const WHOLE: &str = "whole";
/// A longer word, in bytes, is a key or a blob and not a word; Lucene's limit too.
const MAX_WORD_BYTES: usize = 255;

/// Every analyzer that a definition can name, and the name under which a schema keeps it.
pub(crate) fn name(analyzer: Analyzer) -> &'static str {
    match analyzer {
        Analyzer::Standard => STANDARD,
        Analyzer::Keyword => WHOLE,
        Analyzer::Arabic => "arabic",
        Analyzer::Danish => "danish",
        Analyzer::Dutch => "dutch",
        Analyzer::English => "english",
        Analyzer::Finnish => "finnish",
        Analyzer::French => "french",
        Analyzer::German => "german",
        Analyzer::Greek => "greek",
        Analyzer::Hungarian => "hungarian",
        Analyzer::Italian => "italian",
        Analyzer::Norwegian => "norwegian",
        Analyzer::Portuguese => "portuguese",
        Analyzer::Romanian => "romanian",
        Analyzer::Russian => "russian",
        Analyzer::Spanish => "spanish",
        Analyzer::Swedish => "swedish",
        Analyzer::Tamil => "tamil",
        Analyzer::Turkish => "turkish",
    }
}

fn language(analyzer: Analyzer) -> Option<Language> {
    Some(match analyzer {
        Analyzer::Standard | Analyzer::Keyword => return None,
        Analyzer::Arabic => Language::Arabic,
        Analyzer::Danish => Language::Danish,
        Analyzer::Dutch => Language::Dutch,
        Analyzer::English => Language::English,
        Analyzer::Finnish => Language::Finnish,
        Analyzer::French => Language::French,
        Analyzer::German => Language::German,
        Analyzer::Greek => Language::Greek,
        Analyzer::Hungarian => Language::Hungarian,
        Analyzer::Italian => Language::Italian,
        Analyzer::Norwegian => Language::Norwegian,
        Analyzer::Portuguese => Language::Portuguese,
        Analyzer::Romanian => Language::Romanian,
        Analyzer::Russian => Language::Russian,
        Analyzer::Spanish => Language::Spanish,
        Analyzer::Swedish => Language::Swedish,
        Analyzer::Tamil => Language::Tamil,
        Analyzer::Turkish => Language::Turkish,
    })
}

/// The analyzer itself. As Lucene's, those of a language leave out its stop words (English: Lucene's 33; tantivy has
/// no list for Arabic, Greek, Romanian, Tamil and Turkish) and then stem.
pub(crate) fn analyzer(analyzer: Analyzer) -> TextAnalyzer {
    if analyzer == Analyzer::Keyword {
        return TextAnalyzer::from(RawTokenizer::default());
    }
    let words =
        TextAnalyzer::builder(SimpleTokenizer::default()).filter(RemoveLongFilter::limit(MAX_WORD_BYTES + 1)).filter(LowerCaser);
    let Some(language) = language(analyzer) else {
        return words.build();
    };
    match StopWordFilter::new(language) {
        Some(stop_words) => words.filter(stop_words).filter(Stemmer::new(language)).build(),
        None => words.filter(Stemmer::new(language)).build(),
    }
}

/// The analyzers that a schema with these names needs.
pub(crate) fn manager(analyzers: impl Iterator<Item = Analyzer>) -> TokenizerManager {
    // tantivy asks for its "default" even for fields without words.
    let manager = TokenizerManager::default();
    for each in [Analyzer::Standard, Analyzer::Keyword].into_iter().chain(analyzers) {
        manager.register(name(each), analyzer(each));
    }
    manager
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(kind: Analyzer, text: &str) -> Vec<String> {
        let mut analyzer = analyzer(kind);
        let mut words = Vec::new();
        analyzer.token_stream(text).process(&mut |token| words.push(token.text.clone()));
        words
    }

    #[test]
    fn analyzers_cut_as_they_say() {
        assert_eq!(words(Analyzer::Standard, "The Quick, BROWN-fox's"), ["the", "quick", "brown", "fox", "s"]);
        assert_eq!(words(Analyzer::English, "The running dogs are in"), ["run", "dog"]);
        assert_eq!(words(Analyzer::German, "Die Häuser"), ["haus"]);
        assert_eq!(words(Analyzer::Greek, "Ελληνικά").len(), 1);
        assert_eq!(words(Analyzer::Keyword, "The Quick, fox"), ["The Quick, fox"]);
        assert_eq!(words(Analyzer::Standard, &"x".repeat(255)).len(), 1);
        assert!(words(Analyzer::Standard, &"x".repeat(256)).is_empty());
    }
}
