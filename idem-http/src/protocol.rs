//! What differs between HTTP and gRPC: how the layer refuses, and what an answer says of itself.

use http::response::{Parts, Response};
use http::{HeaderMap, StatusCode};

use crate::answer::Answer;
use crate::body::Body;
use crate::disposition::Disposition;
use crate::failure;
use crate::grpc::{self, Status};
use crate::layer::Options;
use crate::problem::Problem;

impl Options {
    /// Returns what the client gets where nothing ran.
    pub(crate) fn refuse(&self, problem: Problem) -> Response<Body> {
        match self.grpc {
            None => problem.into_response(),
            Some(_) => grpc::refused(&problem),
        }
    }

    /// Returns what an answer means for its key, where the handler does not say so. `is_whole` says
    /// whether all of it was read.
    pub(crate) fn disposition(
        &self,
        answer: &Parts,
        trailers: Option<&HeaderMap>,
        is_whole: bool,
    ) -> Disposition {
        match &self.grpc {
            None => self.of_status(answer.status),
            // A unary call has a message only if its status is OK, which is yet to come.
            Some(grpc) if !is_whole => grpc.disposition(Status::OK),
            Some(grpc) => grpc.disposition(Status::of(answer, trailers).code),
        }
    }

    fn of_status(&self, status: StatusCode) -> Disposition {
        let set = self.statuses.get(&status).copied();
        set.unwrap_or_else(|| Disposition::of(status))
    }

    /// Returns a failed answer as a letter has it.
    pub(crate) fn failure(
        &self,
        answer: &Parts,
        trailers: Option<&HeaderMap>,
        body: Option<&[u8]>,
    ) -> String {
        match self.grpc {
            None => failure::text(answer.status, &answer.headers, body),
            Some(_) => Status::of(answer, trailers).to_string(),
        }
    }

    /// Returns the answer of a letter's last attempt, or `None` if it had none.
    pub(crate) fn last_failure(&self, text: &str) -> Option<Response<Body>> {
        match self.grpc {
            None => failure::answer(text),
            // Trying again has no effect.
            Some(_) => Some(Status::parse(text)?.into_response(None)),
        }
    }

    /// Returns a recorded answer.
    pub(crate) fn recorded(&self, answer: Answer) -> Response<Body> {
        match self.grpc {
            // A unary call has a message, or an error.
            Some(_) if !answer.has_body() => self.refuse(Problem::answer_not_kept()),
            _ => answer.into_response(),
        }
    }
}
