import DeviceMapper
import Glibc

/// The one metadata snapshot that a pool can have: what tools read of a pool that guests write to. Released when it goes away.
///
/// It would outlive a process that is killed. So a file in the pool's folder says that it is ours, and that file's flock, which dies with
/// the process, whether somebody still reads it.
final class MetadataSnapshot {
  private let mark: Int32
  private var isHeld = false
  private let device: String
  private let operations: any ThinPoolOperations

  /// - Parameter pool: settled, and locked while this runs; it may be let go afterwards.
  /// - Throws: `PoolError.locked` while another of ours reads, `PoolError.unhealthy` when the snapshot is another tool's.
  init(_ pool: OpenPool) throws {
    (device, operations) = (pool.device, pool.operations)
    let path = pool.folder.path + "/metadata-snapshot"
    mark = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard mark >= 0 else { throw PoolError.io(operation: "open", path: path, errno: errno) }
    guard flock(mark, LOCK_EX | LOCK_NB) == 0 else { throw PoolError.locked(pool: pool.name) }
    var status = stat()
    guard fstat(mark, &status) == 0 else { throw PoolError.io(operation: "examine", path: path, errno: errno) }
    if try operations.poolStatus(device).heldMetadataRoot != nil {
      guard status.st_size > 0 else {
        throw PoolError.unhealthy(
          pool: pool.name, state: "another tool holds its metadata snapshot, or left it behind",
          command: "when none runs: dmsetup message \(device) 0 release_metadata_snap")
      }
      try operations.releaseMetadataSnapshot(pool: device)
    }
    guard write(mark, "1", 1) == 1, fsync(mark) == 0 else {
      throw PoolError.io(operation: "write", path: path, errno: errno)
    }
    do { try operations.reserveMetadataSnapshot(pool: device) } catch {
      ftruncate(mark, 0)
      throw error
    }
    isHeld = true
  }

  deinit {
    // What cannot be released now stays marked, and the next one releases it.
    if isHeld, (try? operations.releaseMetadataSnapshot(pool: device)) != nil { ftruncate(mark, 0) }
    guard mark >= 0 else { return }
    flock(mark, LOCK_UN)
    close(mark)
  }
}
