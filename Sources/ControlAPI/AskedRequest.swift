/// A request as it goes over the socket: the JSON object of the request itself, and with it how the asker wants it served.
public struct AskedRequest<Request: ControlRequest>: Codable, Sendable {
  public let request: Request
  /// What the asker takes for granted about the daemon.
  public let expects: Expectation?
  /// Give the work up when the connection closes. Without it the work goes on, and its outcome is in the daemon's log.
  public let cancelOnDisconnect: Bool?

  public init(_ request: Request, expects: Expectation? = nil, cancelOnDisconnect: Bool? = nil) {
    (self.request, self.expects, self.cancelOnDisconnect) = (request, expects, cancelOnDisconnect)
  }

  private enum CodingKeys: String, CodingKey {
    case expects
    case cancelOnDisconnect = "cancel_on_disconnect"
  }

  public init(from decoder: any Decoder) throws {
    request = try Request(from: decoder)
    let container = try decoder.container(keyedBy: CodingKeys.self)
    expects = try container.decodeIfPresent(Expectation.self, forKey: .expects)
    cancelOnDisconnect = try container.decodeIfPresent(Bool.self, forKey: .cancelOnDisconnect)
  }

  public func encode(to encoder: any Encoder) throws {
    try request.encode(to: encoder)
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encodeIfPresent(expects, forKey: .expects)
    try container.encodeIfPresent(cancelOnDisconnect, forKey: .cancelOnDisconnect)
  }
}

/// What the asker takes for granted; a daemon that works otherwise refuses instead of doing something else.
public struct Expectation: Codable, Hashable, Sendable {
  /// Path of the store.
  public var store: String?
  /// Path of the configuration file.
  public var config: String?

  public init(store: String? = nil, config: String? = nil) {
    self.store = store
    self.config = config
  }
}
