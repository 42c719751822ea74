use super::*;

const FRENCH: &str =
    "L'été dernier, l'équipe a préparé « la fête » avec soin ; qu'en reste-t-il ? Presque rien. ";

fn page(text: impl Into<String>) -> [PageText; 1] {
    [PageText::new(1, text)]
}

/// The document without white space, once as it was and once put together from its chunks.
fn assert_covered(pages: &[PageText]) {
    let squeeze = |text: &str| text.split_whitespace().collect::<String>();
    let all: String = pages.iter().map(|page| squeeze(&page.text)).collect();
    let mut covered = 0;
    for chunk in chunk(pages) {
        let text = squeeze(&chunk.text);
        // It begins in what the chunks before it cover, or right after.
        let reach = covered.min(text.len());
        let start = (covered - reach..=covered)
            .filter(|&start| all.is_char_boundary(start))
            .find(|&start| all[start..].starts_with(&text) && start + text.len() > covered);
        let start =
            start.unwrap_or_else(|| panic!("chunk {} leaves a gap or makes text up", chunk.index));
        covered = start + text.len();
        assert!(
            chunk.tokens <= MAX_TOKENS,
            "chunk {} has {} tokens",
            chunk.index,
            chunk.tokens
        );
        assert!(!chunk.text.trim().is_empty());
    }
    assert_eq!(covered, all.len());
}

/// `part` many times, each time with its number, so that no two places are alike.
fn counted(times: usize, part: &str) -> String {
    (0..times)
        .flat_map(|number| [number.to_string(), part.to_owned()])
        .collect()
}

/// Pages of words, punctuation and breaks that differ from seed to seed.
fn random_pages(mut seed: u64) -> Vec<PageText> {
    const PARTS: [&str; 16] = [
        "mot",
        "réunion",
        "l'hôtel",
        "Answer",
        "12,5",
        "œuvre",
        "— ",
        ". ",
        "! ",
        "\n",
        "\n\n",
        "\n# Titre\n",
        "• point",
        "日本語の文。",
        "👩\u{200D}🔬",
        "e\u{301}",
    ];
    let mut next = move |bound: usize| {
        // Knuth's MMIX generator: the test must not differ from run to run.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % bound
    };
    (1..=4)
        .map(|number| {
            let words = next(2500);
            let text: String = (0..words)
                .map(|_| PARTS[next(16)].to_owned() + [" ", " ", " ", ""][next(4)])
                .collect();
            PageText::new(number, text)
        })
        .collect()
}

#[test]
fn every_character_is_covered_and_no_chunk_is_too_long() {
    (0..60).for_each(|seed| assert_covered(&random_pages(seed)));
    assert_covered(&page(counted(300, FRENCH)));
}

#[test]
fn an_endless_line_is_cut_within_bounds_and_in_linear_time() {
    let line = "é".repeat(5 * 1024 * 1024);
    let chunks = chunk(&page(&*line));
    assert!(chunks.iter().all(|chunk| chunk.tokens <= MAX_TOKENS));
    assert!(chunks.iter().map(|chunk| chunk.text.len()).sum::<usize>() >= line.len());
    for part in ["x", "👩\u{200D}🔬", "a\u{301}", ").", " "] {
        assert_covered(&page(counted(10_000, part)));
    }
}

#[test]
fn chunks_are_near_the_target_and_overlap() {
    let chunks = chunk(&page(FRENCH.repeat(200)));
    for pair in chunks.windows(2) {
        assert!((300..=450).contains(&pair[0].tokens), "{}", pair[0].tokens);
        let opening: String = pair[1].text.chars().take(60).collect();
        assert!(pair[0].text.contains(&opening), "no overlap with {opening}");
    }
}

#[test]
fn words_are_not_cut() {
    let words: Vec<String> = (0..3000).map(|n| format!("mot{n}")).collect();
    let chunks = chunk(&page(words.join(" ")));
    let known: std::collections::HashSet<&str> = words.iter().map(String::as_str).collect();
    assert!(
        chunks
            .iter()
            .flat_map(|chunk| chunk.text.split_whitespace())
            .all(|word| known.contains(word))
    );
}

#[test]
fn sentences_end_chunks() {
    let chunks = chunk(&page(FRENCH.repeat(100)));
    assert!(chunks.iter().all(|chunk| chunk.text.ends_with(['.', '?'])));
}

#[test]
fn markdown_headings_give_the_title_path() {
    let body = FRENCH.repeat(12);
    let text = format!(
        "Intro.\n\n# Guide\n\n{body}\n\n## Retours\n\n{body}\n\n```\n# not a heading\n```\n\n# Suite\n{body}"
    );
    let chunks = chunk(&page(text));
    let sections: Vec<_> = chunks
        .iter()
        .map(|chunk| chunk.section.as_deref())
        .collect();
    assert_eq!(sections, [None, Some("Guide > Retours"), Some("Suite")]);
    assert!(chunks[1].text.starts_with("## Retours\n\nL'été"));
    assert!(chunks[1].text.contains("```\n# not a heading\n```"));
}

#[test]
fn known_headings_are_used_and_never_parted_from_their_text() {
    let body = FRENCH.repeat(10);
    let text = format!("{body}\n\nDélais\n\n{body}");
    let start = text.find("Délais").unwrap();
    let heading = Heading {
        start,
        end: start + "Délais".len(),
        level: 1,
    };
    let chunks = chunk(&[PageText {
        number: 1,
        text,
        headings: vec![heading],
    }]);
    assert_eq!(chunks[1].section.as_deref(), Some("Délais"));
    assert!(chunks[1].text.starts_with("Délais\n\nL'été"));
}

#[test]
fn a_chunk_is_of_one_page_and_knows_it() {
    let pages = [
        PageText::new(1, "La phrase commence ici et"),
        PageText::new(2, ""),
        PageText::new(3, "finit là.\n\nUne autre."),
    ];
    let chunks = chunk(&pages);
    let found: Vec<(u32, &str)> = chunks
        .iter()
        .map(|chunk| (chunk.page, chunk.text.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (1, "La phrase commence ici et"),
            (3, "finit là.\n\nUne autre.")
        ]
    );
}

#[test]
fn lists_keep_their_lines_and_abbreviations_their_dots() {
    let chunks = chunk(&page("Liste :\n• un\n• deux\n\nM. Dupont, p. 12, arrive."));
    assert_eq!(
        chunks[0].text,
        "Liste :\n• un\n• deux\n\nM. Dupont, p. 12, arrive."
    );
}

#[test]
fn nothing_gives_nothing() {
    assert_eq!(chunk(&[]), []);
    assert_eq!(chunk(&page(" \n\t\n")), []);
}

#[test]
fn tokens_are_estimated_by_script() {
    assert_eq!(estimate_tokens("four"), 1);
    assert_eq!(estimate_tokens(""), 0);
    assert!(estimate_tokens("été") > estimate_tokens("ete"));
    assert_eq!(estimate_tokens("日本語の"), 5);
}
