import CLinux
import Glibc
import MigrationStream

/// What libxl has in a file that `xl save` of a Xen before 4.6 wrote, turned into today's form by Xen's own tool, through a pipe.
///
/// The tool could read xl's header and configuration before it as well (`-x`); of 4.17 and later, it fails there: it runs in Python 3, and
/// compares text with bytes (tools/python/xen/migration/xl.py).
final class LegacyStream {
  /// Where Debian has the tool, and where Xen's own build puts it.
  static let tools = ["/usr/lib/xen-4.17/bin/convert-legacy-stream", "/usr/lib/xen/bin/convert-legacy-stream"]

  /// The one that is at work.
  let tool: String
  /// To read from, until ``finish()``.
  private(set) var output: Int32
  private let child: Child

  /// - Parameters:
  ///   - descriptor: a file, behind its configuration; the tool reads it from there.
  ///   - file: what to call it in messages.
  ///   - isPV: the kind of guest in it.
  /// - Throws: ``CarryError/legacy(file:_:)`` when the tool is not there.
  init(_ descriptor: Int32, file: String, isPV: Bool, tools: [String] = LegacyStream.tools) throws {
    guard let tool = tools.first(where: { access($0, X_OK) == 0 }) else {
      throw CarryError.legacy(
        file: file,
        "\(tools[0]) turns it into today's form, and is not here: install xen-utils, or import it on a Xen host")
    }
    self.tool = tool
    var ends: [Int32] = [-1, -1]
    guard pipe2(&ends, O_CLOEXEC) == 0 else { throw PoolError.io(operation: "pipe from", path: tool, errno: errno) }
    defer { close(ends[1]) }
    do {
      // What was saved so long ago was saved by 64-bit tools, or it is beyond us.
      let words = ["-i", "0", "-o", "/dev/stdout", "-w", "64", "-g", isPV ? "pv" : "hvm", "-f", "libxl"]
      child = try Child(
        ["/usr/bin/env", "PYTHONPATH=\(Self.modules(of: tool))", tool] + words, input: descriptor, output: ends[1])
    } catch {
      close(ends[0])
      throw error
    }
    output = ends[0]
  }

  /// The tool is Python, and where Debian has it, Python does not look for Xen's modules.
  ///
  /// - Parameter others: folders that it looks into already.
  static func modules(of tool: String, besides others: String? = environment("PYTHONPATH")) -> String {
    let folder = tool[..<(tool.lastIndex(of: "/") ?? tool.startIndex)]
    return "\(folder)/../lib/python" + (others.map { ":\($0)" } ?? "")
  }

  deinit { closeOutput() }

  private func closeOutput() {
    if output >= 0 { close(output) }
    output = -1
  }

  /// What the tool says when it has ended. Whatever it still has to write is for nobody.
  func finish() throws -> (status: Int32, errors: String) {
    closeOutput()
    let result = try child.wait()
    return (result.status, result.errors)
  }
}
