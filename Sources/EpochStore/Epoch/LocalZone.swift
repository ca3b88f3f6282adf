import Glibc

/// What the clocks on the wall show: the distance from UTC at each instant.
public struct LocalZone: Sendable {
  /// Seconds east of UTC at an instant, which is given in seconds since 1970.
  public let offset: @Sendable (Int) -> Int

  public init(offset: @escaping @Sendable (Int) -> Int) { self.offset = offset }

  /// The zone of this host, or of the process where `TZ` is set.
  public static let system = LocalZone { seconds in
    var time = time_t(seconds)
    var parts = tm()
    return localtime_r(&time, &parts) == nil ? 0 : parts.tm_gmtoff
  }

  public static let utc = LocalZone { _ in 0 }

  /// The instant at which clocks show `local` (seconds since 1970, were they in UTC). Of two, or of none, one that is near.
  func instant(ofLocal local: Int) -> Int {
    let guess = local - offset(local)
    return local - offset(guess)
  }
}

extension EpochTime {
  /// Whole seconds since 1970.
  var seconds: Int { Int(milliseconds).floor(1000) }
}
