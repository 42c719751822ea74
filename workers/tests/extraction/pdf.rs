//! Writes small PDFs, honest and hostile.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::{Compress, Compression, FlushCompress};

/// A file under construction: objects, numbered from 1 as they are added.
#[derive(Clone, Default)]
pub(crate) struct Pdf {
    objects: Vec<Vec<u8>>,
    trailer: String,
}

impl Pdf {
    pub(crate) fn object(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.objects.push(body.into());
        self
    }

    pub(crate) fn stream(self, dict: &str, data: &[u8]) -> Self {
        let head = format!("<< /Length {} {dict} >>\nstream\n", data.len());
        self.object([head.as_bytes(), data, b"\nendstream"].concat())
    }

    pub(crate) fn trailer(mut self, entries: &str) -> Self {
        entries.clone_into(&mut self.trailer);
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut file = b"%PDF-1.7\n".to_vec();
        let mut xref = format!("xref\n0 {}\n0000000000 65535 f \n", self.objects.len() + 1);
        for (index, object) in self.objects.iter().enumerate() {
            writeln!(xref, "{:010} 00000 n ", file.len()).unwrap();
            writeln!(file, "{} 0 obj", index + 1).unwrap();
            file.extend_from_slice(object);
            file.extend_from_slice(b"\nendobj\n");
        }
        let (start, size) = (file.len(), self.objects.len() + 1);
        let trailer = &self.trailer;
        writeln!(
            file,
            "{xref}trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF"
        )
        .unwrap();
        file
    }
}

/// A file of one page whose content stream is `content`; object 4 is its font, `page` and `catalog` go into those.
pub(crate) fn one_page(catalog: &str, page: &str, content: &[u8]) -> Pdf {
    Pdf::default()
        .object(format!("<< /Type /Catalog /Pages 2 0 R {catalog} >>"))
        .object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
        .object(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R \
             /Resources << /Font << /F1 4 0 R >> /XObject << /X1 6 0 R >> >> {page} >>"
        ))
        .object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
        .stream("", content)
}

/// The operators that show `text` at the top of the page.
pub(crate) fn show(text: &str) -> Vec<u8> {
    format!("BT /F1 12 Tf 72 700 Td ({text}) Tj ET").into_bytes()
}

/// `mebibytes` of zeros as a Flate stream, made of one compressed block over and over.
pub(crate) fn flate_bomb(mebibytes: usize) -> Vec<u8> {
    let zeros = vec![0; 1024 * 1024];
    let mut deflate = Compress::new(Compression::best(), true);
    let mut block = || {
        let mut block = Vec::with_capacity(64 * 1024);
        deflate
            .compress_vec(&zeros, &mut block, FlushCompress::Full)
            .unwrap();
        block
    };
    let (first, next) = (block(), block());
    [first, next.repeat(mebibytes - 1)].concat()
}
