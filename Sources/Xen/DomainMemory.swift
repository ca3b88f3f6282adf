/// What the hypervisor is asked about one domain's memory. Unit tests script another.
protocol DomainMemory: Sendable {
  var domain: UInt32 { get }
  /// Pages that Xen counts for the domain now. A page that the guest gave back counts as long as somebody has it mapped.
  func pages() throws(XenError) -> UInt64
  /// The highest frame number in use and one, bounded.
  func frameCount() throws(XenError) -> Int
  /// As ``PageType/query(_:domain:frames:into:)``.
  func types(of frames: [UInt64], into types: UnsafeMutableBufferPointer<UInt8>) throws(XenError)
  func map(_ frames: [UInt64]) throws(XenError) -> ForeignMapping
}

/// The memory of a domain of this host.
struct XenDomainMemory: DomainMemory {
  let hypervisor: Hypervisor
  let space: FrameSpace

  var domain: UInt32 { space.domain }
  func pages() throws(XenError) -> UInt64 { try hypervisor.domain(domain).pages }
  func frameCount() throws(XenError) -> Int { try space.count(hypervisor) }
  func types(of frames: [UInt64], into types: UnsafeMutableBufferPointer<UInt8>) throws(XenError) {
    try PageType.query(hypervisor, domain: domain, frames: frames, into: types)
  }
  func map(_ frames: [UInt64]) throws(XenError) -> ForeignMapping {
    try ForeignMapping(hypervisor, domain: domain, frames: frames)
  }
}
