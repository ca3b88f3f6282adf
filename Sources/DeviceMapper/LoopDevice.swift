internal import CLinux
import Glibc

/// Loop devices, for pools in plain files. They stay attached when the process ends: guests use them.
public enum LoopDevice {
  /// The loop device over `file`: the one that is there, or a new one, with direct I/O where the file system can (guest data
  /// would otherwise sit in dom0's page cache twice).
  ///
  /// - Returns: its path, `/dev/loopN`.
  public static func attach(_ file: String) throws -> String {
    if let found = try find(file) { return found }
    let backing = open(file, O_RDWR | O_CLOEXEC)
    guard backing >= 0 else { throw failure(.attach, file, errno) }
    defer { close(backing) }
    if access("/dev/loop-control", F_OK) != 0 { KernelModule.load("loop") }
    let control = open("/dev/loop-control", O_RDWR | O_CLOEXEC)
    guard control >= 0 else { throw failure(.attach, "/dev/loop-control", errno) }
    defer { close(control) }

    // Another process may take the free device between the two calls.
    for _ in 0..<64 {
      var number: Int32 = 0
      var code = ckpt_loop_get_free(control, &number)
      guard code == 0 else { throw failure(.attach, file, code) }
      let path = "/dev/loop\(number)"
      let loop = open(path, O_RDWR | O_CLOEXEC)
      guard loop >= 0 else { throw failure(.attach, path, errno) }
      defer { close(loop) }
      code = ckpt_loop_configure(loop, backing, 1, file)
      if code == EINVAL { code = ckpt_loop_configure(loop, backing, 0, file) }
      if code == 0 { return path }
      guard code == EBUSY else { throw failure(.attach, file, code) }
    }
    throw failure(.attach, file, EBUSY)
  }

  /// The loop device whose backing file is this very inode, nil when there is none.
  public static func find(_ file: String) throws -> String? {
    var wanted = stat()
    guard stat(file, &wanted) == 0 else { throw failure(.attach, file, errno) }
    for number in loopNumbers() {
      let path = "/dev/loop\(number)"
      let loop = open(path, O_RDONLY | O_CLOEXEC)
      guard loop >= 0 else { continue }
      defer { close(loop) }
      var device: UInt64 = 0
      var inode: UInt64 = 0
      if ckpt_loop_backing(loop, &device, &inode) == 0, inode == wanted.st_ino,
        sameDevice(device, wanted.st_dev)
      {
        return path
      }
    }
    return nil
  }

  public static func detach(_ path: String) throws {
    let loop = open(path, O_RDONLY | O_CLOEXEC)
    guard loop >= 0 else { throw failure(.detach, path, errno) }
    defer { close(loop) }
    let code = ckpt_loop_clear(loop)
    guard code == 0 else { throw failure(.detach, path, code) }
  }

  /// Gives the loop device the size that its file has by now.
  public static func takeInSize(_ path: String) throws {
    let loop = open(path, O_RDONLY | O_CLOEXEC)
    guard loop >= 0 else { throw failure(.size, path, errno) }
    defer { close(loop) }
    let code = ckpt_loop_take_in_size(loop)
    guard code == 0 else { throw failure(.size, path, code) }
  }

  /// The loop driver reports the file's device number in the kernel's "huge" encoding, which for small numbers
  /// equals the one of stat.
  private static func sameDevice(_ reported: UInt64, _ device: dev_t) -> Bool {
    DeviceNumber(reported) == DeviceNumber(UInt64(device))
  }

  private static func loopNumbers() -> [Int] {
    guard let folder = opendir("/sys/block") else { return [] }
    defer { closedir(folder) }
    var numbers: [Int] = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      // Unbound loop devices have no `loop` folder there.
      if name.hasPrefix("loop"), let number = Int(name.dropFirst(4)),
        access("/sys/block/\(name)/loop", F_OK) == 0
      {
        numbers.append(number)
      }
    }
    return numbers.sorted()
  }

  private static func failure(
    _ operation: DeviceMapperError.Operation, _ path: String, _ code: Int32
  ) -> DeviceMapperError {
    .failed(operation, device: path, errno: code, detail: "", left: .unchanged)
  }
}
