/// What is wrong with a bundle. Whoever read it knows its name.
public enum BundleError: Error, Equatable, Sendable, CustomStringConvertible {
  /// It does not begin as a bundle does.
  case notABundle
  case otherVersion(Int)
  /// It ends before its end.
  case cut(at: UInt64)
  /// A chunk is not what was written, or not what the format allows. Everything before the byte is sound.
  case damaged(at: UInt64, String)

  public var description: String {
    switch self {
    case .notABundle: "it is no bundle"
    case .otherVersion(let version):
      "it is a bundle of version \(version), this ckpt reads \(BundleFormat.version); use the ckpt that wrote it"
    case .cut(let offset): "it ends at byte \(offset), before its end"
    case .damaged(let offset, let what): "it is damaged at byte \(offset): \(what)"
    }
  }
}
