//! Why a document has no text for us.

use std::io;

use serde::{Deserialize, Serialize};

/// A fault of the file itself: trying again changes nothing.
///
/// The message is for the person who uploaded the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Refusal {
    /// More pages than are read.
    #[error("The document has {pages} pages; at most {limit} are accepted.")]
    TooManyPages {
        /// How many it has.
        pages: usize,
        /// How many are accepted.
        limit: usize,
    },
    /// It opens with a password only.
    #[error("The PDF is protected by a password. Remove the password and upload it again.")]
    Encrypted,
    /// Pages without text: a scan, or pictures only.
    #[error(
        "The document has no text: its pages are probably scanned images. Upload a version with text (OCR)."
    )]
    NoText,
    /// It starts like a PDF but cannot be read as one.
    #[error("The file is damaged or incomplete and cannot be read.")]
    Damaged,
    /// It is called a PDF but is not one.
    #[error("The file is not a PDF, whatever its name says.")]
    NotAPdf,
    /// It is called a text but is not one.
    #[error("The file is not a text, whatever its name says.")]
    NotText,
    /// More bytes than are read.
    #[error("The file is too large: at most {limit_megabytes} MB are accepted.")]
    TooLarge {
        /// How many are accepted.
        limit_megabytes: u64,
    },
    /// Reading it takes more time, memory or depth than any honest document needs.
    #[error("The document is too complex to read: {what}.")]
    TooComplex {
        /// What there was too much of.
        what: String,
    },
    /// No bytes, or nothing but white space.
    #[error("The file is empty.")]
    Empty,
}

impl Refusal {
    /// A name for the fault that programs can rely on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooManyPages { .. } => "too_many_pages",
            Self::Encrypted => "encrypted",
            Self::NoText => "no_text",
            Self::Damaged => "damaged",
            Self::NotAPdf => "not_a_pdf",
            Self::NotText => "not_text",
            Self::TooLarge { .. } => "too_large",
            Self::TooComplex { .. } => "too_complex",
            Self::Empty => "empty",
        }
    }

    pub(super) fn too_complex(what: &str) -> Self {
        Self::TooComplex {
            what: what.to_owned(),
        }
    }
}

/// Why an extraction did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ExtractionError {
    /// The file is at fault, for good.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It was not done in time. A busy machine does this to honest files: the CPU limit catches the others first.
    #[error("The document took too long to read.")]
    TimedOut,
    /// Something outside killed the child: mostly a machine short of memory.
    #[error("Reading the document was interrupted.")]
    Interrupted,
    /// The file could not be opened, or the child not be started or understood.
    #[error("The document could not be read because of a fault on our side.")]
    Process(#[from] io::Error),
}

impl ExtractionError {
    /// A name for the fault that programs can rely on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::TimedOut | Self::Interrupted => "too_complex",
            Self::Process(_) => "extraction_unavailable",
        }
    }

    /// Whether another try may succeed.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}
