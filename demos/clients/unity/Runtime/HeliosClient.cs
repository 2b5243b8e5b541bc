// HeliosClient.cs: a game's side of the helios-bridge protocol 1.1 in one file. C# 6, nothing but the class library.
//
// It speaks ZMTP 3.0 (NULL) over TCP and the part of msgpack that the protocol uses. A thread of its own reads; the game
// calls Send and TryTake from one thread, once a tick. After the first frames neither allocates. CURVE is not here: to
// leave the machine, tunnel (ssh -L 5599:127.0.0.1:5599 HOST).
//
// Read it in this order: options and values, HeliosClient, then how bytes are written, read and carried.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.IO.MemoryMappedFiles;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

namespace HeliosBridge
{
    public sealed class HeliosOptions
    {
        public string Host = "127.0.0.1";
        public int Port = 5599;
        public string Name = "unity";
        public string Axes = "unity"; // everything below is in them
        public double UnitsPerMetre = 1;
        public int BudgetMicroseconds = 16667; // how long after a control its answer is still useful
        public double TickHz = 60;
        public int Credit = 4; // frames under way unread, at most 8
        public double MaxSpeed, MaxTurnDegreesPerSecond; // that the camera never exceeds, for predictions; 0: not declared
        public bool SharedMemory = true; // pixels by shared memory where server and machine allow it
        public bool FlipRows; // true: row 0 of Pixels is the picture's lowest, as Texture2D wants it
    }

    public struct HeliosVector
    {
        public float X, Y, Z;
        public HeliosVector(float x, float y, float z) { X = x; Y = y; Z = z; }
    }

    public struct HeliosRotation
    {
        public float X, Y, Z, W;
        public HeliosRotation(float x, float y, float z, float w) { X = x; Y = y; Z = z; W = w; }
        public static readonly HeliosRotation Identity = new HeliosRotation(0, 0, 0, 1);
    }

    public struct HeliosCamera
    {
        public HeliosVector Position;
        public HeliosRotation Rotation; // camera-to-world, length 1
        public float VerticalFovDegrees;
    }

    public struct HeliosEvent
    {
        public string Kind, Value;
        public HeliosEvent(string kind, string value) { Kind = kind; Value = value; }
    }

    public enum HeliosShape { Box, Sphere, Cylinder, Plane, Mesh }

    /// <summary>A piece of the blockout. Size: full extents along its own axes; a mesh's vertices are multiplied by it.</summary>
    public sealed class HeliosPart
    {
        public uint Id;
        public HeliosShape Shape;
        public HeliosVector Position;
        public HeliosRotation Rotation = HeliosRotation.Identity;
        public HeliosVector Size = new HeliosVector(1, 1, 1);
        public string Material = "";
        public HeliosVector Colour = new HeliosVector(1, 1, 1); // linear 0 .. 1
        public HeliosVector[] Vertices; // a mesh's, in its own axes
        public int[] Triangles; // index triples in Unity's winding
    }

    public struct HeliosMove
    {
        public uint Id;
        public HeliosVector Position;
        public HeliosRotation Rotation;
    }

    public enum HeliosSource { Generated, Reprojected, Held }

    /// <summary>The answer to one control. It belongs to the client: valid until the next TryTake.</summary>
    public sealed class HeliosFrame
    {
        public long Seq, Chunk, Index, ControlAgeMicroseconds, ServerMicroseconds, RoundTripMicroseconds;
        public HeliosSource Source;
        public HeliosCamera Camera; // that these pixels show
        public string Action = ""; // that shaped them
        public bool DeadlineMet;
        public int Width, Height;
        public byte[] Pixels = new byte[0]; // exactly Width * Height * 3 bytes, red green blue
    }

    public enum HeliosState { Waiting, Open, Closed }

    public enum HeliosNoticeKind { Opened, Resumed, Refused, Busy, Lost, Closed }

    /// <summary>What the game may want to know. After Opened (not Resumed) hand over the level: the session is new.</summary>
    public struct HeliosNotice
    {
        public HeliosNoticeKind Kind;
        public string Text;
    }

    public struct HeliosCounts
    {
        public long Controls, Generated, Reprojected, Held, Refused, Resumes;
        public long InRing; // answers whose pixels came through shared memory
        public long Unanswered { get { return Controls - Generated - Reprojected - Held - Refused; } }
    }

    public sealed class HeliosClient : IDisposable
    {
        const int HelloAgainMicroseconds = 2000000; // an unanswered HELLO is repeated
        const int ReconnectMilliseconds = 250;
        const int MissedHeartbeats = 3; // a server this silent, while controls are under way, is gone

        readonly HeliosOptions _options;
        readonly Thread _thread;
        readonly object _lock = new object(); // guards everything below but the connection's reading side
        readonly Queue<HeliosNotice> _notices = new Queue<HeliosNotice>();
        readonly MsgpackWriter _out = new MsgpackWriter();
        readonly FrameReader _frames;
        ZmtpConnection _connection;
        SharedRing _ring; // the thread's; null: pixels travel in the message
        HeliosFrame _writing = new HeliosFrame(), _ready = new HeliosFrame(), _taken = new HeliosFrame();
        bool _hasReady;
        volatile bool _stopping;
        HeliosState _state = HeliosState.Waiting;
        HeliosCounts _counts = default(HeliosCounts);
        string _sessionId = "", _resumeToken = "";
        long _nextSeq, _newestSeq = -1, _latenessMicroseconds, _heartbeatMicroseconds;
        long _helloDue, _heard, _waitingSince; // microseconds

        /// <summary>Starts connecting, and goes on trying; Opened follows.</summary>
        public HeliosClient(HeliosOptions options)
        {
            if (options.Port < 1 || options.Port > 65535) throw new ArgumentOutOfRangeException("options", "Port: got " + options.Port);
            _options = options;
            _frames = new FrameReader(options.FlipRows);
            // A domain reload (the editor's, after a compilation) must not wait for a thread that sits in a socket.
            AppDomain.CurrentDomain.DomainUnload += OnUnload;
            _thread = new Thread(Run) { IsBackground = true, Name = "helios-bridge" };
            _thread.Start();
        }

        public HeliosState State { get { lock (_lock) return _state; } }
        public HeliosCounts Counts { get { lock (_lock) return _counts; } }

        /// <summary>Sends one control. Returns its seq, or -1 while no session is open or the connection takes no more.</summary>
        public long Send(ref HeliosCamera camera, string action, bool teleport = false, IList<HeliosEvent> events = null)
        {
            lock (_lock)
            {
                if (_state != HeliosState.Open || !_connection.CanSend) return -1;
                long now = NowMicroseconds;
                int eventCount = events == null ? 0 : events.Count;
                _out.Begin(11);
                _out.Put("seq", _nextSeq);
                _out.Put("t_us", now);
                _out.Put("position", camera.Position);
                _out.Put("rotation", camera.Rotation);
                _out.Put("vertical_fov_deg", camera.VerticalFovDegrees);
                _out.Put("action", action ?? "");
                _out.Text("events");
                _out.ListHead(eventCount);
                for (int i = 0; i < eventCount; i++)
                {
                    _out.MapHead(2);
                    _out.Put("kind", events[i].Kind);
                    _out.Put("value", events[i].Value ?? "");
                }
                _out.Put("teleport", teleport);
                _out.Put("lateness_us", _latenessMicroseconds);
                _out.Put("frame_received_seq", _newestSeq);
                _out.Put("shared_frames", _ring != null);
                if (!Transmit(MessageType.Control)) return -1;
                _counts.Controls++;
                if (_waitingSince == 0) _waitingSince = now;
                return _nextSeq++;
            }
        }

        /// <summary>The newest frame, once; false when there is none newer than the last. It is valid until the next call.</summary>
        public bool TryTake(out HeliosFrame frame)
        {
            lock (_lock)
            {
                if (_hasReady)
                {
                    HeliosFrame shown = _taken;
                    _taken = _ready;
                    _ready = shown;
                }
                frame = _taken;
                bool isNew = _hasReady;
                _hasReady = false;
                return isNew;
            }
        }

        public bool TryTakeNotice(out HeliosNotice notice)
        {
            lock (_lock)
            {
                bool any = _notices.Count > 0;
                notice = any ? _notices.Dequeue() : default(HeliosNotice);
                return any;
            }
        }

        /// <summary>Hands over the whole level. Waits until it is on its way: call it when a level is loaded.</summary>
        public bool SetScene(IList<HeliosPart> parts, string prompt = null, long seed = -1)
        {
            return SendScene(true, parts, null, null, prompt, seed);
        }

        /// <summary>Changes the level: adds (or replaces by id), moves and removes parts. Any argument may be null.</summary>
        public bool UpdateScene(IList<HeliosPart> add, IList<HeliosMove> move, IList<uint> remove = null)
        {
            return SendScene(false, add, move, remove, null, -1);
        }

        /// <summary>Starts the video anew in the same level.</summary>
        public bool Reset(string prompt = null, long seed = -1)
        {
            lock (_lock)
            {
                if (_state != HeliosState.Open) return false;
                _out.Begin((prompt != null ? 1 : 0) + (seed >= 0 ? 1 : 0));
                if (prompt != null) _out.Put("prompt", prompt);
                if (seed >= 0) _out.Put("seed", seed);
                return Transmit(MessageType.Reset);
            }
        }

        /// <summary>Says BYE and ends the thread. May be called twice.</summary>
        public void Dispose()
        {
            if (_stopping) return;
            _stopping = true;
            AppDomain.CurrentDomain.DomainUnload -= OnUnload;
            ZmtpConnection connection;
            lock (_lock)
            {
                connection = _connection;
                if (_state == HeliosState.Open)
                {
                    _out.Begin(1);
                    _out.Put("reason", "closed by the game");
                    Transmit(MessageType.Bye);
                }
                _state = HeliosState.Closed;
            }
            if (connection != null) connection.EndSending(); // the server closes its side, which ends the thread
            if (_thread.Join(1000)) return;
            if (connection != null) connection.Close();
            _thread.Join(2000);
        }

        public static long NowMicroseconds
        {
            get
            {
                long ticks = Stopwatch.GetTimestamp(), perSecond = Stopwatch.Frequency;
                return ticks / perSecond * 1000000 + ticks % perSecond * 1000000 / perSecond;
            }
        }

        // ---- the game's side ----------------------------------------------------------------------------------------

        void OnUnload(object sender, EventArgs args) { Dispose(); }

        bool SendScene(bool replace, IList<HeliosPart> add, IList<HeliosMove> move, IList<uint> remove, string prompt, long seed)
        {
            lock (_lock)
            {
                if (_state != HeliosState.Open) return false;
                _out.Begin(4 + (prompt != null ? 1 : 0) + (seed >= 0 ? 1 : 0));
                if (prompt != null) _out.Put("prompt", prompt);
                if (seed >= 0) _out.Put("seed", seed);
                _out.Put("replace", replace);
                _out.Text("add");
                _out.ListHead(add == null ? 0 : add.Count);
                for (int i = 0; add != null && i < add.Count; i++) _out.Part(add[i]);
                _out.Text("move");
                _out.ListHead(move == null ? 0 : move.Count);
                for (int i = 0; move != null && i < move.Count; i++)
                {
                    _out.MapHead(3);
                    _out.Put("id", move[i].Id);
                    _out.Put("position", move[i].Position);
                    _out.Put("rotation", move[i].Rotation);
                }
                _out.Text("remove");
                _out.ListHead(remove == null ? 0 : remove.Count);
                for (int i = 0; remove != null && i < remove.Count; i++) _out.Integer(remove[i]);
                return Transmit(MessageType.Scene);
            }
        }

        // Sends what _out holds. False: the connection is gone, and the thread makes a new one.
        bool Transmit(MessageType type)
        {
            return _connection != null && _connection.Send(type, _out);
        }

        // ---- the thread's side --------------------------------------------------------------------------------------

        void Run()
        {
            while (!_stopping && State != HeliosState.Closed)
            {
                try
                {
                    using (ZmtpConnection connection = new ZmtpConnection(_options.Host, _options.Port))
                    {
                        lock (_lock) { _connection = connection; _helloDue = 0; _heard = NowMicroseconds; }
                        connection.Greet();
                        while (!_stopping && State != HeliosState.Closed)
                        {
                            Tend();
                            if (connection.HasInput(50)) ReadMessage(connection);
                        }
                        if (_stopping) connection.ReadToTheEnd();
                    }
                }
                catch (SocketException) { }
                catch (ObjectDisposedException) { }
                catch (ZmtpException) { }
                lock (_lock) { _connection = null; Lose("the connection was lost"); }
                if (!_stopping) Thread.Sleep(ReconnectMilliseconds);
            }
            lock (_lock) CloseRing();
        }

        // HELLO while no session is open, and a look at whether the server still speaks.
        void Tend()
        {
            lock (_lock)
            {
                long now = NowMicroseconds, patience = MissedHeartbeats * _heartbeatMicroseconds;
                if (_state == HeliosState.Open && patience > 0 && _waitingSince > 0 &&
                    now - _waitingSince > patience && now - _heard > patience)
                    throw new ZmtpException("nothing heard from the server");
                if (_state != HeliosState.Waiting || now < _helloDue || _connection == null) return;
                _out.Begin(14);
                _out.Put("version_major", 1);
                _out.Put("version_minor", 1);
                _out.Put("client", _options.Name);
                _out.Put("axes", _options.Axes);
                _out.Put("units_per_metre", _options.UnitsPerMetre);
                _out.Text("pixel_formats");
                _out.ListHead(1);
                _out.Text("rgb8");
                _out.Put("credit", _options.Credit);
                _out.Put("budget_us", _options.BudgetMicroseconds);
                _out.Put("tick_hz", _options.TickHz);
                _out.Put("max_speed", _options.MaxSpeed);
                _out.Put("max_turn_deg_per_s", _options.MaxTurnDegreesPerSecond);
                _out.Put("shared_memory", _options.SharedMemory);
                _out.Put("session_id", _sessionId);
                _out.Put("resume_token", _resumeToken);
                _helloDue = now + HelloAgainMicroseconds;
                Transmit(MessageType.Hello);
            }
        }

        // Reads one whole message. Pixels go where the game will find them before it is known whether they count.
        void ReadMessage(ZmtpConnection connection)
        {
            bool sound = true, more = true;
            int part = 0;
            MessageType type = 0;
            MsgpackReader body = _frames.Body;
            while (more)
            {
                long length;
                if (!connection.NextPart(out length, out more)) { more = part > 0; continue; } // a command of ZMTP's own
                if (part == 0) sound = length == 4 && connection.Matches("HLB1");
                else if (part == 1 && sound && length == 1) type = (MessageType)connection.Byte();
                else if (part == 2 && sound && length <= MsgpackReader.MaxBodyBytes) sound = body.Fill(connection, (int)length);
                else if (part == 3 && sound && type == MessageType.Frame) sound = _frames.Read(connection, length, _writing);
                else sound = false;
                connection.SkipRest();
                part++;
            }
            if (!sound || part != (type == MessageType.Frame ? 4 : 3) || (part == 3 && !body.Validate())) return;
            lock (_lock)
            {
                _heard = NowMicroseconds;
                if (type == MessageType.Frame) OnFrame();
                else if (type == MessageType.Welcome) OnWelcome(body);
                else if (type == MessageType.Error) OnError(body);
                else if (type == MessageType.Ping) OnPing(body);
                else if (type == MessageType.Busy && _state == HeliosState.Waiting)
                {
                    _helloDue = _heard + body.Integer("retry_after_us", 0, long.MaxValue / 2, 1000000);
                    Notify(HeliosNoticeKind.Busy, body.String("text") ?? "");
                }
                else if (type == MessageType.Bye) End(body.String("reason") ?? "the server ended the session");
            }
        }

        void OnFrame()
        {
            // Answers come in the order of their controls; whatever else it is, it is not ours to acknowledge.
            HeliosFrame frame = _writing;
            if (_state != HeliosState.Open || frame.Seq <= _newestSeq || frame.Seq >= _nextSeq) return;
            bool inRing = _frames.RingSlot >= 0;
            if (inRing && (_ring == null || !_ring.Fits(frame))) return;
            bool lost = inRing && !_ring.Read(_frames.RingSlot, _frames.RingSequence, frame.Pixels, _options.FlipRows);
            frame.RoundTripMicroseconds = _heard - _frames.SentMicroseconds;
            _latenessMicroseconds = frame.RoundTripMicroseconds - _options.BudgetMicroseconds;
            _newestSeq = frame.Seq;
            _waitingSince = 0;
            if (frame.Source == HeliosSource.Generated) _counts.Generated++;
            else if (frame.Source == HeliosSource.Reprojected) _counts.Reprojected++;
            else _counts.Held++;
            if (lost) // it counts as read, and pixels travel in the message from now on
            {
                CloseRing();
                return;
            }
            if (inRing) _counts.InRing++;
            _writing = _ready;
            _ready = frame;
            _hasReady = true;
        }

        void OnWelcome(MsgpackReader body)
        {
            bool resumed;
            string id = body.String("session_id"), token = body.String("resume_token");
            long lastSeq = body.Integer("last_seq", -1, long.MaxValue / 2, -2);
            if (_state != HeliosState.Waiting || id == null || token == null || lastSeq < -1 || !body.TryBool("resumed", out resumed))
                return;
            _sessionId = id;
            _resumeToken = token;
            _heartbeatMicroseconds = body.Integer("heartbeat_us", 0, long.MaxValue / 8, 0);
            _nextSeq = Math.Max(_nextSeq, lastSeq + 1);
            if (resumed) _counts.Resumes++;
            else _newestSeq = -1; // a new session has sent nothing that could be acknowledged
            _waitingSince = 0;
            CloseRing();
            if (_options.SharedMemory)
                _ring = SharedRing.Open(body.String("ring"), body.Integer("frame_width", 1, 4096, 0), body.Integer("frame_height", 1, 4096, 0));
            _state = HeliosState.Open;
            Notify(resumed ? HeliosNoticeKind.Resumed : HeliosNoticeKind.Opened, body.String("model") ?? "");
        }

        void OnError(MsgpackReader body)
        {
            bool fatal;
            string code = body.String("code"), text = body.String("text") ?? "", reply = body.String("in_reply_to") ?? "";
            if (code == null) return;
            body.TryBool("fatal", out fatal);
            bool unexpected = code == "unexpected_message";
            if (_resumeToken.Length > 0 && fatal && (unexpected || code == "session_expired"))
            {
                Lose(text); // nothing new while waiting: what was under way is refused as well
                return;
            }
            if (_resumeToken.Length > 0 && unexpected && reply == "HELLO" && _state == HeliosState.Waiting)
            {
                _state = HeliosState.Open; // the session never ended
                return;
            }
            if (reply == "CONTROL" && _state == HeliosState.Open) _counts.Refused++;
            if (fatal) End(code + ": " + text);
            else Notify(HeliosNoticeKind.Refused, code + ": " + text);
        }

        void CloseRing()
        {
            if (_ring != null) _ring.Dispose();
            _ring = null;
        }

        void OnPing(MsgpackReader body)
        {
            long sent = body.Integer("t_us", 0, long.MaxValue, -1);
            if (sent < 0) return;
            _out.Begin(1);
            _out.Put("t_us", sent);
            Transmit(MessageType.Pong);
        }

        void Lose(string why)
        {
            if (_state != HeliosState.Open) return;
            _state = HeliosState.Waiting;
            _helloDue = 0;
            Notify(HeliosNoticeKind.Lost, why);
        }

        void End(string why)
        {
            _state = HeliosState.Closed;
            Notify(HeliosNoticeKind.Closed, why);
        }

        void Notify(HeliosNoticeKind kind, string text)
        {
            if (_notices.Count < 64) _notices.Enqueue(new HeliosNotice { Kind = kind, Text = text });
        }
    }

    enum MessageType : byte
    {
        Hello = 1, Welcome, Control, Frame, Scene, Reset, StatsRequest, Stats, Error, Busy, Bye, Ping, Pong, Save,
        Saved
    }

    /// <summary>Reads FRAMEs into a HeliosFrame without allocating: the header's texts are kept while they stay the same.</summary>
    sealed class FrameReader
    {
        static readonly string[] Sources = { "generated", "reprojected", "held" };
        public readonly MsgpackReader Body = new MsgpackReader();
        readonly bool _flipRows;
        string _action = "";

        public FrameReader(bool flipRows) { _flipRows = flipRows; }

        /// <summary>The control's own time, echoed.</summary>
        public long SentMicroseconds { get; private set; }

        /// <summary>Where in the ring the pixels lie; slot -1: they were in the message.</summary>
        public long RingSlot { get; private set; }
        public long RingSequence { get; private set; }

        /// <summary>Reads the pixels' part behind the header in Body. False: they do not belong together.</summary>
        public bool Read(ZmtpConnection connection, long length, HeliosFrame frame)
        {
            if (!Body.Validate() || !ReadHeader(frame)) return false;
            long size = 3L * frame.Width * frame.Height;
            if (length != (RingSlot >= 0 ? 0 : size)) return false;
            if (frame.Pixels.Length != size) frame.Pixels = new byte[size];
            if (RingSlot >= 0) return true;
            int stride = 3 * frame.Width;
            for (int row = 0; row < frame.Height; row++)
                connection.Copy(frame.Pixels, (_flipRows ? frame.Height - 1 - row : row) * stride, stride);
            return true;
        }

        bool ReadHeader(HeliosFrame frame)
        {
            int source = -1;
            for (int i = 0; i < Sources.Length; i++) if (Body.IsText("source", Sources[i])) source = i;
            frame.Seq = Body.Integer("seq", 0, long.MaxValue, -1);
            SentMicroseconds = Body.Integer("t_us", 0, long.MaxValue, -1);
            frame.Chunk = Body.Integer("chunk", -1, long.MaxValue, -2);
            frame.Index = Body.Integer("index", 0, long.MaxValue, -1);
            frame.ControlAgeMicroseconds = Body.Integer("control_age_us", 0, long.MaxValue, -1);
            frame.ServerMicroseconds = Body.Integer("server_us", 0, long.MaxValue, -1);
            RingSlot = Body.Integer("ring_slot", 0, 9, -1);
            RingSequence = Body.Integer("ring_sequence", 0, long.MaxValue, 0);
            frame.Width = (int)Body.Integer("width", 1, 4096, -1);
            frame.Height = (int)Body.Integer("height", 1, 4096, -1);
            bool sound = source >= 0 && frame.Seq >= 0 && SentMicroseconds >= 0 && frame.Chunk >= -1 && frame.Index >= 0 &&
                frame.ControlAgeMicroseconds >= 0 && frame.ServerMicroseconds >= 0 && frame.Width > 0 && frame.Height > 0 &&
                Body.TryBool("deadline_met", out frame.DeadlineMet) && Body.IsText("pixel_format", "rgb8") &&
                Body.TryNumber("position", 0, 3, out frame.Camera.Position.X) &&
                Body.TryNumber("position", 1, 3, out frame.Camera.Position.Y) &&
                Body.TryNumber("position", 2, 3, out frame.Camera.Position.Z) &&
                Body.TryNumber("rotation", 0, 4, out frame.Camera.Rotation.X) &&
                Body.TryNumber("rotation", 1, 4, out frame.Camera.Rotation.Y) &&
                Body.TryNumber("rotation", 2, 4, out frame.Camera.Rotation.Z) &&
                Body.TryNumber("rotation", 3, 4, out frame.Camera.Rotation.W) &&
                Body.TryNumber("vertical_fov_deg", -1, 0, out frame.Camera.VerticalFovDegrees);
            if (!sound) return false;
            frame.Source = (HeliosSource)source;
            if (!Body.IsText("action", _action)) _action = Body.String("action");
            frame.Action = _action;
            if (_action == null) _action = "";
            return frame.Action != null;
        }
    }

    /// <summary>The server's ring of frames in shared memory, read-only (protocol, section "Shared memory").</summary>
    sealed class SharedRing : IDisposable
    {
        const int HeadBytes = 64;
        readonly MemoryMappedFile _file;
        readonly MemoryMappedViewAccessor _view;
        readonly int _slots, _stride, _width, _height;
        readonly IntPtr _memory;

        SharedRing(MemoryMappedFile file, long width, long height)
        {
            _file = file;
            _view = file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
            _slots = _view.ReadInt32(8);
            _stride = _view.ReadInt32(12);
            _width = _view.ReadInt32(16);
            _height = _view.ReadInt32(20);
            bool sound = _view.ReadInt64(0) == 0x31474e4952424c48 && _width == width && _height == height && // "HLBRING1"
                _slots >= 1 && _slots <= 10 && _stride % 64 == 0 && _stride >= HeadBytes + 3 * width * height &&
                HeadBytes + (long)_slots * _stride <= _view.Capacity;
            if (!sound) { Dispose(); throw new InvalidDataException("not a ring of frames of " + width + " x " + height); }
            _memory = _view.SafeMemoryMappedViewHandle.DangerousGetHandle();
        }

        /// <summary>The ring of that name, or null when it cannot be read here, for whatever reason.</summary>
        public static SharedRing Open(string name, long width, long height)
        {
            if (string.IsNullOrEmpty(name) || name.IndexOfAny(new[] { '/', '\\' }) >= 0) return null;
            try
            {
                string path = "/dev/shm/" + name;
                MemoryMappedFile file = Path.DirectorySeparatorChar == '\\'
                    ? MemoryMappedFile.OpenExisting(name, MemoryMappedFileRights.Read)
                    : MemoryMappedFile.CreateFromFile(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete),
                        null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, false);
                return new SharedRing(file, width, height);
            }
            catch (Exception) { return null; } // another machine, another user, a container, a platform without it
        }

        public bool Fits(HeliosFrame frame) { return frame.Width == _width && frame.Height == _height; }

        /// <summary>Copies a slot's pixels. False: the slot does not hold that frame (any more).</summary>
        public bool Read(long slot, long sequence, byte[] pixels, bool flipRows)
        {
            if (slot >= _slots) return false;
            IntPtr at = new IntPtr(_memory.ToInt64() + HeadBytes + slot * _stride);
            if (Marshal.ReadInt64(at) != sequence) return false;
            Thread.MemoryBarrier();
            IntPtr source = new IntPtr(at.ToInt64() + 64);
            int row = 3 * _width;
            if (!flipRows) Marshal.Copy(source, pixels, 0, row * _height);
            else for (int y = 0; y < _height; y++) Marshal.Copy(new IntPtr(source.ToInt64() + y * row), pixels, (_height - 1 - y) * row, row);
            Thread.MemoryBarrier();
            return Marshal.ReadInt64(at) == sequence;
        }

        public void Dispose()
        {
            _view.Dispose();
            _file.Dispose();
        }
    }

    /// <summary>Writes one msgpack map into a buffer that grows to what is needed and stays.</summary>
    sealed class MsgpackWriter
    {
        public const int HeadBytes = 32; // in front of the body, for the framing
        static readonly string[] Shapes = { "box", "sphere", "cylinder", "plane", "mesh" };
        public byte[] Buffer = new byte[1024];
        public int End;

        public void Begin(int fields) { End = HeadBytes; MapHead(fields); }

        public void Put(string name, long value) { Text(name); Integer(value); }
        public void Put(string name, double value) { Text(name); Number(value); }
        public void Put(string name, string value) { Text(name); Text(value); }
        public void Put(string name, bool value) { Text(name); Room(1); Buffer[End++] = (byte)(value ? 0xc3 : 0xc2); }

        public void Put(string name, HeliosVector value)
        {
            Text(name);
            ListHead(3);
            Number(value.X); Number(value.Y); Number(value.Z);
        }

        public void Put(string name, HeliosRotation value)
        {
            Text(name);
            ListHead(4);
            Number(value.X); Number(value.Y); Number(value.Z); Number(value.W);
        }

        public void Part(HeliosPart part)
        {
            bool mesh = part.Shape == HeliosShape.Mesh;
            MapHead(mesh ? 9 : 7);
            Put("id", part.Id);
            Put("shape", Shapes[(int)part.Shape]);
            Put("position", part.Position);
            Put("rotation", part.Rotation);
            Put("size", part.Size);
            Put("material", part.Material ?? "");
            Put("colour", part.Colour);
            if (!mesh) return;
            float[] numbers = new float[3 * part.Vertices.Length];
            for (int i = 0; i < part.Vertices.Length; i++)
            {
                numbers[3 * i] = part.Vertices[i].X;
                numbers[3 * i + 1] = part.Vertices[i].Y;
                numbers[3 * i + 2] = part.Vertices[i].Z;
            }
            Bytes("vertices", numbers, 4 * numbers.Length); // engines run on little-endian machines, as the wire is
            Bytes("triangles", part.Triangles, 4 * part.Triangles.Length);
        }

        public void MapHead(int count) { Head(count, 0x80, 0xde); }
        public void ListHead(int count) { Head(count, 0x90, 0xdc); }

        public void Integer(long value)
        {
            Room(9);
            if (value >= 0 && value < 128) Buffer[End++] = (byte)value;
            else { Buffer[End++] = 0xd3; Big(value, 8); }
        }

        public void Number(double value)
        {
            Room(9);
            Buffer[End++] = 0xcb;
            Big(BitConverter.DoubleToInt64Bits(value), 8);
        }

        public void Text(string text)
        {
            int size = Encoding.UTF8.GetByteCount(text);
            Room(size + 5);
            if (size < 32) Buffer[End++] = (byte)(0xa0 | size);
            else { Buffer[End++] = 0xdb; Big(size, 4); }
            End += Encoding.UTF8.GetBytes(text, 0, text.Length, Buffer, End);
        }

        void Bytes(string name, Array values, int size)
        {
            Text(name);
            Room(size + 5);
            Buffer[End++] = 0xc6;
            Big(size, 4);
            System.Buffer.BlockCopy(values, 0, Buffer, End, size);
            End += size;
        }

        void Head(int count, int small, int large)
        {
            Room(3);
            if (count < 16) Buffer[End++] = (byte)(small | count);
            else { Buffer[End++] = (byte)large; Big(count, 2); }
        }

        void Big(long value, int bytes)
        {
            for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) Buffer[End++] = (byte)(value >> shift);
        }

        void Room(int bytes)
        {
            if (End + bytes > Buffer.Length) Array.Resize(ref Buffer, Math.Max(2 * Buffer.Length, End + bytes));
        }
    }

    /// <summary>Looks fields up in one msgpack map. Nothing is built: each look-up walks the bytes, which are few.</summary>
    sealed class MsgpackReader
    {
        public const int MaxBodyBytes = 16 * 1024;
        const int MaxDepth = 16;
        static readonly UTF8Encoding Strict = new UTF8Encoding(false, true);
        readonly byte[] _bytes = new byte[MaxBodyBytes];
        readonly long[] _open = new long[MaxDepth];
        int _end, _at;

        public bool Fill(ZmtpConnection connection, int length)
        {
            _end = length;
            connection.Copy(_bytes, 0, length);
            return true;
        }

        /// <summary>Whether the bytes are one msgpack map and nothing more. Call it before looking anything up.</summary>
        public bool Validate()
        {
            _at = 0;
            return _end > 0 && Kind(_bytes[0]) == 'm' && Skip() && _at == _end;
        }

        /// <summary>A whole number, or `otherwise` when it is missing, of another type, or out of bounds.</summary>
        public long Integer(string name, long least, long most, long otherwise)
        {
            if (!Find(name) || Kind(_bytes[_at]) != 'i') return otherwise;
            byte first = _bytes[_at++];
            long value;
            if (first < 0x80) value = first;
            else if (first >= 0xe0) value = (sbyte)first;
            else if (first <= 0xcf) value = (long)Big(1 << (first - 0xcc)); // above 2^63 it turns negative, and out of bounds
            else { int bytes = 1 << (first - 0xd0); value = (long)(Big(bytes) << (64 - 8 * bytes)) >> (64 - 8 * bytes); }
            if (first == 0xcf && value < 0) return otherwise;
            return value >= least && value <= most ? value : otherwise;
        }

        /// <summary>A finite number: the field itself (index -1), or one of a list of exactly `count`.</summary>
        public bool TryNumber(string name, int index, int count, out float value)
        {
            value = 0;
            if (!Find(name)) return false;
            if (index >= 0)
            {
                if (Kind(_bytes[_at]) != 'l' || Count() != count) return false;
                for (int i = 0; i < index; i++) Skip();
            }
            byte first = _bytes[_at];
            double number;
            if (first == 0xcb) { _at++; number = BitConverter.Int64BitsToDouble((long)Big(8)); }
            else if (first == 0xca) { number = BitConverter.ToSingle(Reversed(_at + 1), 0); }
            else if (Kind(first) == 'i') number = IntegerHere();
            else return false;
            value = (float)number;
            return !double.IsNaN(number) && Math.Abs(number) <= float.MaxValue;
        }

        public bool TryBool(string name, out bool value)
        {
            bool found = Find(name) && Kind(_bytes[_at]) == 'b';
            value = found && _bytes[_at] == 0xc3;
            return found;
        }

        /// <summary>Whether the field is this text; compares without making a string when `text` is ASCII or the same length.</summary>
        public bool IsText(string name, string text)
        {
            if (!Find(name) || Kind(_bytes[_at]) != 's') return false;
            int size = Count(), at = _at;
            for (int i = 0; i < text.Length; i++)
            {
                if (text[i] >= 0x80) return TextEquals(text, at, size);
                if (i >= size || _bytes[at + i] != text[i]) return false;
            }
            return size == text.Length;
        }

        /// <summary>A text, newly made; null when it is missing or not UTF-8.</summary>
        public string String(string name)
        {
            if (!Find(name) || Kind(_bytes[_at]) != 's') return null;
            int size = Count();
            try { return Strict.GetString(_bytes, _at, size); }
            catch (DecoderFallbackException) { return null; }
        }

        readonly byte[] _four = new byte[4];
        byte[] _encoded = new byte[0];

        bool TextEquals(string text, int at, int size)
        {
            int needed = Encoding.UTF8.GetByteCount(text);
            if (needed != size) return false;
            if (_encoded.Length < needed) _encoded = new byte[needed];
            Encoding.UTF8.GetBytes(text, 0, text.Length, _encoded, 0);
            for (int i = 0; i < size; i++) if (_encoded[i] != _bytes[at + i]) return false;
            return true;
        }

        // Puts _at on the value of a field of the map; false when it is not there.
        bool Find(string name)
        {
            _at = 0;
            for (int left = Count(); left > 0; left--)
            {
                bool isText = Kind(_bytes[_at]) == 's';
                int key = _at;
                if (isText)
                {
                    int size = Count(), i = 0;
                    while (i < name.Length && i < size && _bytes[_at + i] == name[i]) i++;
                    if (i == size && i == name.Length) { _at += size; return true; }
                    _at = key;
                }
                Skip();
                Skip();
            }
            return false;
        }

        double IntegerHere()
        {
            byte first = _bytes[_at++];
            if (first < 0x80) return first;
            if (first >= 0xe0) return (sbyte)first;
            if (first <= 0xcf) return Big(1 << (first - 0xcc));
            int bytes = 1 << (first - 0xd0);
            return (long)(Big(bytes) << (64 - 8 * bytes)) >> (64 - 8 * bytes);
        }

        byte[] Reversed(int at)
        {
            for (int i = 0; i < 4; i++) _four[i] = _bytes[at + (BitConverter.IsLittleEndian ? 3 - i : i)];
            return _four;
        }

        // Kinds: i integer, f float, b bool, n nil, s text, x bytes, l list, m map, ? anything else, which is refused.
        static char Kind(byte first)
        {
            if (first < 0x80 || first >= 0xe0 || (first >= 0xcc && first <= 0xd3)) return 'i';
            if (first < 0x90 || first == 0xde || first == 0xdf) return 'm';
            if (first < 0xa0 || first == 0xdc || first == 0xdd) return 'l';
            if (first < 0xc0 || (first >= 0xd9 && first <= 0xdb)) return 's';
            if (first == 0xc0) return 'n';
            if (first == 0xc2 || first == 0xc3) return 'b';
            if (first >= 0xc4 && first <= 0xc6) return 'x';
            return first == 0xca || first == 0xcb ? 'f' : '?';
        }

        // The count of the text, bytes, list or map at _at, which then is behind it. -1: beyond the end, or too large.
        int Count()
        {
            byte first = _bytes[_at++];
            if (first < 0x90) return first & 0x0f;
            if (first < 0xa0) return first & 0x0f;
            if (first < 0xc0) return first & 0x1f;
            int bytes = first <= 0xc6 ? 1 << (first - 0xc4) : first <= 0xdb ? 1 << (first - 0xd9) : first % 2 == 0 ? 2 : 4;
            if (_at + bytes > _end) return -1;
            ulong count = Big(bytes);
            return count <= MaxBodyBytes ? (int)count : -1;
        }

        ulong Big(int bytes)
        {
            ulong value = 0;
            for (int i = 0; i < bytes; i++) value = value << 8 | _bytes[_at++];
            return value;
        }

        // Moves _at behind the value there. False: it does not end within the bytes, or is nested too deeply.
        bool Skip()
        {
            int depth = 0;
            _open[0] = 1;
            while (depth >= 0)
            {
                if (_open[depth] == 0) { depth--; continue; }
                _open[depth]--;
                if (_at >= _end) return false;
                byte first = _bytes[_at];
                char kind = Kind(first);
                if (kind == 'i' || kind == 'f' || kind == 'b' || kind == 'n')
                {
                    int size = 0;
                    if (first == 0xca) size = 4;
                    else if (first == 0xcb) size = 8;
                    else if (first >= 0xcc && first <= 0xcf) size = 1 << (first - 0xcc);
                    else if (first >= 0xd0 && first <= 0xd3) size = 1 << (first - 0xd0);
                    _at += 1 + size;
                    continue;
                }
                if (kind == '?') return false;
                int count = Count();
                if (count < 0) return false;
                if (kind == 's' || kind == 'x') { _at += count; continue; }
                if (count > _end - _at || depth + 1 >= MaxDepth) return false;
                _open[++depth] = kind == 'm' ? 2 * count : count;
            }
            return _at <= _end;
        }
    }

    sealed class ZmtpException : Exception
    {
        public ZmtpException(string message) : base(message) { }
    }

    /// <summary>One ZMTP 3.0 connection of a DEALER (RFC 23), NULL mechanism. One thread reads; sending is the caller's to guard.</summary>
    sealed class ZmtpConnection : IDisposable
    {
        const byte More = 1, Long = 2, Command = 4;
        const int PatienceMilliseconds = 5000; // for the rest of something that has begun
        const long MaxPartBytes = 64L << 20;
        readonly Socket _socket;
        readonly byte[] _in = new byte[256 * 1024];
        readonly byte[] _pong = new byte[64];
        readonly object _sending = new object();
        int _from, _to; // what of _in is not read yet
        long _left; // of the part that is being read

        public ZmtpConnection(string host, int port)
        {
            _socket = new TcpClient(host, port).Client;
            _socket.NoDelay = true;
            _socket.ReceiveTimeout = _socket.SendTimeout = PatienceMilliseconds;
        }

        /// <summary>Whether a short message can leave without waiting.</summary>
        public bool CanSend
        {
            get
            {
                try { return _socket.Connected && _socket.Poll(0, SelectMode.SelectWrite); }
                catch (ObjectDisposedException) { return false; }
            }
        }

        /// <summary>Greeting and READY, both ways. Raises: ZmtpException: something else speaks there.</summary>
        public void Greet()
        {
            byte[] greeting = new byte[64];
            greeting[0] = 0xff;
            greeting[9] = 0x7f;
            greeting[10] = 3; // version 3.0
            Encoding.ASCII.GetBytes("NULL", 0, 4, greeting, 12);
            _socket.Send(greeting);
            byte[] theirs = new byte[64];
            _left = 64;
            Copy(theirs, 0, 64);
            if (theirs[0] != 0xff || theirs[9] != 0x7f || theirs[10] < 3 || Encoding.ASCII.GetString(theirs, 12, 5) != "NULL\0")
                throw new ZmtpException("expected a ZMTP 3 peer with the NULL mechanism");
            // READY: its name, then Socket-Type = DEALER, with a length of one byte for names and of four for values.
            _socket.Send(Encoding.ASCII.GetBytes("\u0004\u001c\u0005READY\u000bSocket-Type\0\0\0\u0006DEALER"));
        }

        /// <summary>Whether something can be read now or within the time.</summary>
        public bool HasInput(int milliseconds)
        {
            return _from < _to || _socket.Poll(1000 * milliseconds, SelectMode.SelectRead);
        }

        /// <summary>Begins the next part. False: it was a command, which is done with.</summary>
        public bool NextPart(out long length, out bool more)
        {
            _left = 9;
            byte flags = Byte();
            length = 0;
            for (int i = (flags & Long) != 0 ? 8 : 1; i > 0; i--) length = length << 8 | Byte();
            if (length < 0 || length > MaxPartBytes) throw new ZmtpException("a part of " + length + " bytes");
            _left = length;
            more = (flags & More) != 0;
            if ((flags & Command) == 0) return true;
            if (length >= 7 && length <= 23 && Matches("\u0004PING")) Pong((int)length - 7);
            SkipRest();
            return false;
        }

        public byte Byte()
        {
            if (_left <= 0) throw new ZmtpException("a part ended early");
            _left--;
            if (_from == _to) Receive();
            return _in[_from++];
        }

        /// <summary>Whether the part goes on with this ASCII text; reads it.</summary>
        public bool Matches(string text)
        {
            bool same = true;
            for (int i = 0; i < text.Length; i++) same &= Byte() == text[i];
            return same;
        }

        public void Copy(byte[] target, int at, int count)
        {
            if (count > _left) throw new ZmtpException("a part ended early");
            _left -= count;
            while (count > 0)
            {
                if (_from == _to) Receive();
                int now = Math.Min(count, _to - _from);
                Buffer.BlockCopy(_in, _from, target, at, now);
                _from += now;
                at += now;
                count -= now;
            }
        }

        public void SkipRest()
        {
            while (_left > 0)
            {
                if (_from == _to) Receive();
                int now = (int)Math.Min(_left, _to - _from);
                _from += now;
                _left -= now;
            }
        }

        /// <summary>Sends a whole message: magic, type, and the body that `body` holds behind room for the framing.</summary>
        public bool Send(MessageType type, MsgpackWriter body)
        {
            int size = body.End - MsgpackWriter.HeadBytes, at = MsgpackWriter.HeadBytes - (size < 256 ? 11 : 18);
            byte[] to = body.Buffer;
            int begin = at;
            to[at++] = More; to[at++] = 4;
            to[at++] = (byte)'H'; to[at++] = (byte)'L'; to[at++] = (byte)'B'; to[at++] = (byte)'1';
            to[at++] = More; to[at++] = 1;
            to[at++] = (byte)type;
            to[at++] = size < 256 ? (byte)0 : Long;
            for (int shift = size < 256 ? 0 : 56; shift >= 0; shift -= 8) to[at++] = (byte)((long)size >> shift);
            return SendAll(to, begin, body.End - begin);
        }

        /// <summary>Nothing more will be sent; what was, arrives.</summary>
        public void EndSending()
        {
            try { _socket.Shutdown(SocketShutdown.Send); }
            catch (SocketException) { }
            catch (ObjectDisposedException) { }
        }

        /// <summary>Reads until the server has closed its side. Closing ours before, with frames unread, would reset the
        /// connection, and BYE with it.</summary>
        public void ReadToTheEnd()
        {
            while (_socket.Receive(_in, 0, _in.Length, SocketFlags.None) > 0) { }
        }

        public void Close() { _socket.Close(); }
        public void Dispose() { _socket.Close(); }

        bool SendAll(byte[] bytes, int at, int count)
        {
            try
            {
                lock (_sending)
                    while (count > 0)
                    {
                        int sent = _socket.Send(bytes, at, count, SocketFlags.None);
                        at += sent;
                        count -= sent;
                    }
                return true;
            }
            catch (SocketException) { }
            catch (ObjectDisposedException) { }
            _socket.Close(); // half a message may be out: the thread makes a new connection
            return false;
        }

        // The server's ZeroMQ asks whether the connection lives; the answer echoes the context behind name and TTL.
        void Pong(int contextBytes)
        {
            Byte(); Byte();
            _pong[0] = Command;
            _pong[1] = (byte)(5 + contextBytes);
            Encoding.ASCII.GetBytes("\u0004PONG", 0, 5, _pong, 2);
            for (int i = 0; i < contextBytes; i++) _pong[7 + i] = Byte();
            SendAll(_pong, 0, 7 + contextBytes);
        }

        void Receive()
        {
            _from = 0;
            _to = _socket.Receive(_in, 0, _in.Length, SocketFlags.None);
            if (_to == 0) throw new ZmtpException("the server closed the connection");
        }
    }
}
