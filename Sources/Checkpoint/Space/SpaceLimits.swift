/// How much room epochs may take. nil: no limit.
public struct SpaceLimits: Sendable, Equatable {
  /// Bytes of the guest's epochs in the store.
  public var quota: UInt64?
  /// Bytes of all guests' epochs in the store.
  public var storeQuota: UInt64?
  /// Bytes of the store's file system that takes leave free.
  public var hostReserve: UInt64 = 0
  /// Per cent of a pool's data, and of its metadata, from which on no epoch is taken. Whatever it says, a pool keeps the reserve of
  /// ``PoolReserve``.
  public var poolWatermark: Int?

  public init() {}
}
