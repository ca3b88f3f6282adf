/// What a person should know of a pool early.
struct PoolWarning: Equatable {
  /// What it is about, whatever the numbers are: it is told once for as long as it lasts.
  struct Subject: Hashable {
    /// Empty for all of them.
    let pool: String
    let kind: Kind
  }

  enum Kind: Hashable {
    case data, metadata, clock, heldMetadata
    /// Metadata that run low were to be enlarged, and were not.
    case growth
    /// Why no epoch would be taken now.
    case problem(String)
    /// It could not be looked at.
    case unknown
  }

  let subject: Subject
  /// A line.
  let text: String

  init(_ pool: String, _ kind: Kind, _ text: String) {
    subject = Subject(pool: pool, kind: kind)
    self.text = text
  }

  /// Why an epoch would be refused.
  init(_ pool: String, refusedFor error: any Error) {
    let why =
      switch error as? PoolError {
      case .nearlyFull(_, let what, _, _, _): what
      case .unhealthy(_, let state, _): state
      default: "\(error)"
      }
    self.init(pool, .problem(why), "\(error)")
  }
}
