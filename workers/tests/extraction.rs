//! Extraction through its front door: the parent, a real child, honest and hostile files.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose files cannot be made has failed"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use common::domain::document_kind::DocumentKind;
use workers::extraction::{ExtractedDocument, ExtractionError, Extractor, Limits};

#[path = "extraction/pdf.rs"]
mod pdf;

use pdf::{Pdf, flate_bomb, one_page, show};

fn extractor() -> Extractor {
    Extractor::new(env!("CARGO_BIN_EXE_relais-workers"), ["extract"])
}

async fn extract_as(
    kind: DocumentKind,
    bytes: &[u8],
) -> Result<ExtractedDocument, ExtractionError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    extractor().extract(file.path(), kind).await
}

async fn extract(bytes: &[u8]) -> Result<ExtractedDocument, ExtractionError> {
    extract_as(DocumentKind::Pdf, bytes).await
}

async fn text(bytes: &[u8]) -> String {
    let document = extract(bytes).await.unwrap();
    document
        .pages
        .into_iter()
        .map(|page| page.text)
        .collect::<Vec<_>>()
        .join("\n\n")
}

async fn refusal(bytes: &[u8]) -> &'static str {
    let error = extract(bytes).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    error.code()
}

async fn handbook() -> ExtractedDocument {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/handbook.pdf");
    extractor().extract(&file, DocumentKind::Pdf).await.unwrap()
}

#[tokio::test]
async fn a_typeset_document_is_read_in_order_with_its_headings() {
    let document = handbook().await;

    let titles = |page: usize| {
        let page = &document.pages[page];
        page.headings
            .iter()
            .map(|heading| &page.text[heading.start..heading.end])
            .collect::<Vec<_>>()
    };
    assert_eq!((document.page_count, document.empty_pages.len()), (2, 0));
    assert_eq!(
        titles(0)[..3],
        [
            "Guide des retours et des remboursements",
            "Conditions générales",
            "Délais de livraison"
        ]
    );
    assert_eq!(
        titles(0)[3..],
        ["Réclamations", "Tarifs", "Warranty", "Exclusions"]
    );
    assert_eq!(titles(1), ["Safety", "First aid"]);
}

#[tokio::test]
async fn words_are_whole_and_spaces_french() {
    let document = handbook().await;
    let text = &document.pages[0].text;

    // Hyphenated at the end of a line, with ligatures, after thin and no-break spaces, over a whole paragraph.
    assert!(text.contains("L’entreprise garantit l’efficacité de ses produits : toute réclamation officielle doit être"));
    assert!(text.contains(
        " doit être affichée « sans délai » ; les flux financiers sont confirmés chaque soir."
    ));
    assert!(text.contains("Le client dispose de 1 250 jours pour demander le remboursement"));
    assert!(text.contains("quatre-vingt-dix jours"));
    assert!(text.contains("\n• La livraison à vélo coûte trois euros.\n"));
    assert!(text.contains("Découverte\t0 €\t1\nAffaires\t29 €\t10"));
    assert!(
        text.contains("Repairs are carried out by certified technicians in our central workshop")
    );
}

#[tokio::test]
async fn headers_footers_and_page_numbers_are_dropped() {
    let document = handbook().await;
    assert_eq!(document.dropped_lines, 4);
    assert!(
        document
            .pages
            .iter()
            .all(|page| !page.text.contains("Guide interne") && !page.text.contains("Page "))
    );
}

#[tokio::test]
async fn text_and_markdown_are_one_page() {
    let document = extract_as(
        DocumentKind::Markdown,
        "# Café\r\n\r\nOuvert\u{A0}!\0".as_bytes(),
    )
    .await;
    assert_eq!(document.unwrap_err().code(), "not_text");
    let document = extract_as(DocumentKind::PlainText, b"Caf\xE9\r\nouvert\xA0!")
        .await
        .unwrap();
    assert_eq!(document.pages[0].text, "Café\nouvert !");
    assert_eq!(
        extract_as(DocumentKind::PlainText, b" \n ")
            .await
            .unwrap_err()
            .code(),
        "empty"
    );
}

#[tokio::test]
async fn what_is_no_pdf_is_refused() {
    assert_eq!(refusal(b"").await, "empty");
    assert_eq!(refusal(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").await, "not_a_pdf");
    assert_eq!(
        refusal(b"<!DOCTYPE html><title>PDF</title>").await,
        "not_a_pdf"
    );
    assert_eq!(refusal(b"%PDF-1.7\nnothing else").await, "damaged");
}

#[tokio::test]
async fn a_large_file_is_refused_before_a_child_is_started() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(20 * 1024 * 1024 + 1).unwrap();
    let extractor = Extractor::new("/nowhere/no-such-program", ["extract"]);
    let error = extractor
        .extract(file.path(), DocumentKind::Pdf)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "too_large");
}

#[tokio::test]
async fn a_truncated_file_is_read_as_far_as_it_goes_or_refused() {
    let file =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/handbook.pdf"))
            .unwrap();
    for part in [file.len() / 4, file.len() / 2, file.len() * 9 / 10] {
        if let Err(error) = extract(&file[..part]).await {
            assert!(["damaged", "no_text"].contains(&error.code()), "{error}");
        }
    }
}

#[tokio::test]
async fn an_encrypted_file_is_refused() {
    let file = one_page("", "", &show("secret"))
        .object(format!(
            "<< /Filter /Standard /V 1 /R 2 /Length 40 /P -44 /O <{0}> /U <{0}> >>",
            "0123456789ABCDEF".repeat(4)
        ))
        .trailer("/Encrypt 6 0 R /ID [<00> <00>]");
    assert_eq!(refusal(&file.bytes()).await, "encrypted");
}

#[tokio::test]
async fn a_scanned_page_has_no_text() {
    let image = "/Type /XObject /Subtype /Image /Width 1 /Height 1 /BitsPerComponent 8 /ColorSpace /DeviceGray";
    let file = one_page("", "", b"q 595 0 0 842 0 0 cm /X1 Do Q").stream(image, &[0]);
    assert_eq!(refusal(&file.bytes()).await, "no_text");
}

#[tokio::test]
async fn too_many_pages_are_refused_whether_declared_or_there() {
    let declared = Pdf::default()
        .object("<< /Type /Catalog /Pages 2 0 R >>")
        .object("<< /Type /Pages /Kids [3 0 R] /Count 100000 >>")
        .object("<< /Type /Page /Parent 2 0 R >>");
    assert_eq!(refusal(&declared.bytes()).await, "too_many_pages");

    let kids: Vec<String> = (3..100_003).map(|number| format!("{number} 0 R")).collect();
    let kids = kids.join(" ");
    let there = Pdf::default()
        .object("<< /Type /Catalog /Pages 2 0 R >>")
        .object(format!("<< /Type /Pages /Kids [{kids}] /Count 1 >>"));
    let there = (0..100_000).fold(there, |file, _| {
        file.object("<< /Type /Page /Parent 2 0 R >>")
    });
    let error = extract(&there.bytes()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "The document has 100000 pages; at most 200 are accepted."
    );
}

#[tokio::test]
async fn nesting_hurts_nobody() {
    for depth in [10_000, 1_000_000] {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let content = [
            show("before "),
            nested.clone().into_bytes(),
            b" TJ ".to_vec(),
            show("after"),
        ]
        .concat();
        for file in [
            one_page("", &format!("/Trap {nested}"), &show("text")),
            one_page("", "", &content),
        ] {
            if let Err(error) = extract(&file.bytes()).await {
                let codes = ["damaged", "no_text", "too_complex"];
                assert!(
                    codes.contains(&error.code()) && !error.is_transient(),
                    "{error}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_decompression_bomb_ends_at_the_memory_limit() {
    let file = Pdf::default()
        .object("<< /Type /Catalog /Pages 2 0 R >>")
        .object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
        .object("<< /Type /Page /Parent 2 0 R /Contents 4 0 R >>")
        .stream("/Filter /FlateDecode", &flate_bomb(1024));
    let error = extract(&file.bytes()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "The document is too complex to read: it takes too much memory."
    );
}

#[tokio::test]
async fn forms_that_show_each_other_end_at_the_limit_of_operations() {
    let form = |next: u32| {
        format!("/Subtype /Form /BBox [0 0 1 1] /Resources << /XObject << /X1 {next} 0 R >> >>")
    };
    // Fifty times fifty times fifty …
    let file = (7..15).fold(one_page("", "", b"/X1 Do"), |file, next| {
        file.stream(&form(next), &b"/X1 Do ".repeat(50))
    });
    assert_eq!(refusal(&file.bytes()).await, "too_complex");
}

#[tokio::test]
async fn loops_end() {
    // The table names itself as the one before it.
    let honest = one_page("", "", &show("Still here")).trailer("/Prev 0000");
    let table = honest
        .clone()
        .bytes()
        .windows(5)
        .rposition(|window| window == b"xref\n")
        .unwrap();
    assert_eq!(
        text(&honest.trailer(&format!("/Prev {table:04}")).bytes()).await,
        "Still here"
    );

    let tree = Pdf::default()
        .object("<< /Type /Catalog /Pages 2 0 R >>")
        .object("<< /Type /Pages /Kids [2 0 R 3 0 R] /Count 2 >>")
        .object("<< /Type /Pages /Kids [2 0 R 3 0 R] /Count 2 >>");
    assert_eq!(refusal(&tree.bytes()).await, "damaged");
}

#[tokio::test]
async fn a_lying_length_is_seen_through() {
    for length in ["/Length 2", "/Length 99999999", "/Length -1"] {
        let content = String::from_utf8(show("The whole text")).unwrap();
        let lying = Pdf::default()
            .object("<< /Type /Catalog /Pages 2 0 R >>")
            .object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
            .object("<< /Type /Page /Parent 2 0 R /Contents 5 0 R /Resources << /Font << /F1 4 0 R >> >> >>")
            .object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
            .object(format!("<< {length} >>\nstream\n{content}\nendstream"));
        assert_eq!(text(&lying.bytes()).await, "The whole text", "{length}");
    }
}

#[tokio::test]
async fn scripts_are_ignored() {
    let catalog = "/OpenAction << /S /JavaScript /JS (app.alert\\('boo'\\)) >> /AA << /O << /S /Launch /F (cmd) >> >>";
    assert_eq!(
        text(&one_page(catalog, "", &show("Only this")).bytes()).await,
        "Only this"
    );
}

#[tokio::test]
async fn a_garbled_unicode_map_gives_no_forbidden_characters() {
    for (entries, end) in [
        (
            "4 beginbfchar <41> <0000> <43> <FFFF0007> <44> <FB01> <45> <202E> endbfchar",
            "fin and zebra",
        ),
        (
            "1 beginbfchar <42> <D800> endbfchar 1 beginbfrange <45> <00> <41> endbfrange garbage <<<< ((((",
            "zebra",
        ),
    ] {
        let codes = "1 begincodespacerange <00> <FF> endcodespacerange";
        let map =
            format!("/CIDInit /ProcSet findresource begin begincmap {codes} {entries} endcmap end");
        let file = Pdf::default()
            .object("<< /Type /Catalog /Pages 2 0 R >>")
            .object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
            .object("<< /Type /Page /Parent 2 0 R /Contents 5 0 R /Resources << /Font << /F1 4 0 R >> >> >>")
            .object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>")
            .stream("", &show("ABCEDn and zebra"))
            .stream("", map.as_bytes());
        let text = text(&file.bytes()).await;
        assert!(text.ends_with(end), "{text:?}");
        assert!(
            text.chars()
                .all(|c| !c.is_control() && !matches!(c, '\u{FFFF}' | '\u{202E}')),
            "{text:?}"
        );
    }
}

#[tokio::test]
async fn a_child_that_cannot_be_started_is_no_fault_of_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"%PDF-").unwrap();
    let none: [&str; 0] = [];
    let missing = Extractor::new("/nowhere/no-such-program", none)
        .extract(file.path(), DocumentKind::Pdf)
        .await;
    assert!(missing.unwrap_err().is_transient());
    let wrong = Extractor::new("/bin/true", none)
        .extract(file.path(), DocumentKind::Pdf)
        .await;
    assert_eq!(wrong.unwrap_err().code(), "extraction_unavailable");
}

#[tokio::test]
async fn a_child_that_hangs_or_floods_is_stopped() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"%PDF-").unwrap();
    let limits = Limits {
        wall_seconds: 1,
        text_bytes: 1024,
        ..Limits::default()
    };
    let started = Instant::now();
    for script in ["sleep 60", "yes", "yes >&2"] {
        let extractor = Extractor::new("/bin/sh", ["-c", script]).with_limits(limits.clone());
        assert!(
            extractor
                .extract(file.path(), DocumentKind::Pdf)
                .await
                .unwrap_err()
                .is_transient(),
            "{script}"
        );
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn the_child_is_told_no_secrets() {
    let (file, seen) = (
        tempfile::NamedTempFile::new().unwrap(),
        tempfile::NamedTempFile::new().unwrap(),
    );
    std::fs::write(file.path(), b"%PDF-").unwrap();
    let script = format!("pwd > {0}; env >> {0}", seen.path().display());
    let _ = Extractor::new("/bin/sh", ["-c", &script])
        .extract(file.path(), DocumentKind::Pdf)
        .await;
    let seen = std::fs::read_to_string(seen.path()).unwrap();
    // The shell sets the last three itself.
    let known = ["RELAIS_EXTRACTION=", "PWD=/", "SHLVL=", "_=", "OLDPWD"];
    assert_eq!(seen.lines().next(), Some("/"));
    assert!(
        seen.lines()
            .skip(1)
            .all(|line| known.iter().any(|known| line.starts_with(known))),
        "{seen}"
    );
}
