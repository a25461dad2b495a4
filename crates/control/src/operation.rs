//! One line of the list of operations: who may use it, where it is, what runs.

use axum::{
    Router,
    handler::Handler,
    http::{Method, StatusCode},
    middleware,
    routing::{self, MethodFilter, MethodRouter},
};
use claviger_domain::operator::verb::Verb;

use crate::{
    describe::{Described, Shape},
    gate::{self, Gate},
    state::ControlState,
};

/// Who may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Operators whose role has this verb.
    Operator(Verb),
    /// Whoever can reach the listener: what the request holds is the proof.
    Anyone,
}

impl From<Verb> for Access {
    fn from(verb: Verb) -> Self {
        Self::Operator(verb)
    }
}

/// One operation.
pub struct Operation {
    /// Who may use it.
    pub access: Access,
    /// Its method.
    pub method: Method,
    /// Its path below `/admin/v1`, with `{names}` for what varies.
    pub path: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// What its handler takes and answers.
    pub shape: Shape,
    handler: MethodRouter<ControlState>,
}

impl Operation {
    fn new<H, T, D>(
        access: Access,
        method: Method,
        path: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, ControlState> + Described<D>,
        T: 'static,
    {
        let mut shape = Shape::default();
        H::describe(&mut shape);
        // A method that has no filter is none of ours; the constructors below name those that have.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::TRACE);
        Self { access, method, path, summary, shape, handler: routing::on(filter, handler) }
    }

    /// The same, which can also end with a problem of this status.
    #[must_use]
    pub fn or(mut self, status: StatusCode) -> Self {
        self.shape.problems.insert(status.as_u16());
        self
    }

    /// Its name in the document: the verb, or the last words of its path.
    #[must_use]
    pub fn id(&self) -> String {
        match self.access {
            Access::Operator(verb) => verb.as_str().to_owned(),
            Access::Anyone => {
                let words = self.path.split('/').filter(|w| !w.is_empty() && !w.starts_with('{'));
                format!(
                    "{}.{}",
                    words.collect::<Vec<_>>().join("."),
                    self.method.as_str().to_ascii_lowercase()
                )
            }
        }
    }

    /// Names of what varies in its path.
    pub fn path_names(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|word| word.strip_prefix('{')?.strip_suffix('}'))
    }

    /// Puts it on a router, behind its gate.
    pub fn mount(self, router: Router<ControlState>, state: &ControlState) -> Router<ControlState> {
        let gate = Gate::new(&self, state.clone());
        let behind = self.handler.route_layer(middleware::from_fn_with_state(gate, gate::pass));
        router.route(self.path, behind)
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident = $method:ident;)+) => {
        $($(#[$doc])*
        pub fn $name<H, T, D>(access: impl Into<Access>, path: &'static str, summary: &'static str, handler: H) -> Operation
        where
            H: Handler<T, ControlState> + Described<D>,
            T: 'static,
        {
            Operation::new(access.into(), Method::$method, path, summary, handler)
        })+
    };
}

constructors! {
    /// An operation that reads.
    get = GET;
    /// An operation that makes or does something.
    post = POST;
    /// An operation that replaces something.
    put = PUT;
    /// An operation that changes something.
    patch = PATCH;
    /// An operation that removes something.
    delete = DELETE;
}
