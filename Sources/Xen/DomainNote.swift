import CXen

/// A note of ours about a running domain, beside it in xenstore: `/local/domain/ID/ckpt/NAME`. It goes when the domain goes.
/// Only dom0 can read it: the guest shall not learn from it when it is taken, and to where.
public struct DomainNote {
  private let store: XenStore
  private let domain: UInt32
  private var folder: String { "/local/domain/\(domain)/ckpt" }
  let path: String

  /// - Parameter name: one word.
  public init(_ store: XenStore, domain: UInt32, _ name: String) {
    self.store = store
    self.domain = domain
    path = "/local/domain/\(domain)/ckpt/\(name)"
  }

  /// The note's text; nil or empty for none.
  public func read(in transaction: XenStoreTransaction? = nil) throws(XenError) -> String? {
    try store.read(path, in: transaction)
  }

  /// Not for a domain that is being destroyed: that would make its folder anew, which then nobody removes.
  ///
  /// - Throws: ``XenError/domainGone(_:)`` when its folder is gone.
  public func write(_ text: String, in transaction: XenStoreTransaction) throws(XenError) {
    // In the pause the note is there already: one look is enough.
    if try store.read(path, in: transaction) == nil {
      guard try store.name(of: domain, in: transaction) != nil else { throw .domainGone(domain) }
      try store.makePrivate(folder, in: transaction)
    }
    try store.write(path, text, in: transaction)
  }

  public func write(_ text: String) throws(XenError) {
    try store.transaction(path) { (transaction) throws(XenError) in try write(text, in: transaction) }
  }

  /// Clears the note; nothing is left to do where the domain is gone.
  public func clear() throws(XenError) {
    do { try write("") } catch {
      guard case .domainGone = error else { throw error }
    }
  }
}
