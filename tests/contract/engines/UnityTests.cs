// UnityTests WHAT [ADDRESS]: what test_engine_unity.py wants to know of the Unity client and its sample.
//   collect, drawn      the parts that HeliosLevel makes of some colliders, or of what is drawn, as JSON
//   quad ADDRESS        the sample component played for a second: the last texture and the frame's first pixels
//   allocation ADDRESS  garbage collections during a thousand ticks after warm-up (start it with a small nursery)
//   reload ADDRESS      an application domain with a session in it, unloaded while frames come
using System;
using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Threading;
using HeliosBridge;
using UnityEngine;

static class UnityTests
{
    static int Main(string[] arguments)
    {
        if (arguments[0] == "collect") Collect(false);
        else if (arguments[0] == "drawn") Collect(true);
        else if (arguments[0] == "quad") Quad(new Uri(arguments[1]));
        else if (arguments[0] == "allocation") Allocation(new Uri(arguments[1]));
        else Reload(arguments[1]);
        return 0;
    }

    static HeliosClient Client(Uri address)
    {
        return new HeliosClient(new HeliosOptions { Host = address.Host, Port = address.Port });
    }

    static object Field(object of, string name, object value)
    {
        FieldInfo field = of.GetType().GetField(name, BindingFlags.NonPublic | BindingFlags.Instance);
        if (value != null) field.SetValue(of, value);
        return field.GetValue(of);
    }

    static void Invoke(object of, string name)
    {
        of.GetType().GetMethod(name, BindingFlags.NonPublic | BindingFlags.Instance).Invoke(of, null);
    }

    // A quarter turn to the right about the up axis, as Unity writes it.
    static readonly Quaternion Right = new Quaternion(0, 0.70710678f, 0, 0.70710678f);

    static HeliosLevel Level(bool withMesh, out GameObject door)
    {
        GameObject root = new GameObject("level");
        root.transform.localPosition = new Vector3(10, 0, 0);
        root.transform.localRotation = Right;
        GameObject wall = new GameObject("wall", root.transform) { isStatic = true };
        wall.transform.localPosition = new Vector3(0, 1, 4);
        wall.transform.localScale = new Vector3(2, 2, 2);
        BoxCollider box = wall.AddComponent<BoxCollider>();
        box.center = new Vector3(0, 0.5f, 0);
        box.size = new Vector3(3, 1, 0.25f);
        HeliosMaterial brick = wall.AddComponent<HeliosMaterial>();
        brick.Material = "brick";
        brick.Tint = new UnityEngine.Color(1, 0.5f, 0);
        GameObject ball = new GameObject("ball", root.transform);
        ball.transform.localScale = new Vector3(1, 3, 2);
        ball.AddComponent<SphereCollider>();
        ball.AddComponent<Renderer>().sharedMaterial = new Material { name = "Water (Instance)" };
        door = new GameObject("log", root.transform);
        door.transform.localPosition = new Vector3(0, 2, 0);
        CapsuleCollider log = door.AddComponent<CapsuleCollider>();
        log.direction = 0;
        log.height = 5;
        log.radius = 0.5f;
        new GameObject("zone", root.transform).AddComponent<BoxCollider>().isTrigger = true;
        new GameObject("hills", root.transform).AddComponent<TerrainCollider>();
        HeliosLevel level = root.AddComponent<HeliosLevel>();
        if (!withMesh) return level; // not every engine behind a service casts meshes
        GameObject mirrored = new GameObject("ramp", root.transform);
        mirrored.transform.localScale = new Vector3(-1, 1, 2);
        UnityEngine.Mesh mesh = new UnityEngine.Mesh
        {
            vertices = new[] { new Vector3(0, 0, 0), new Vector3(0, 0, 1), new Vector3(1, 0, 0) }, triangles = new[] { 0, 1, 2 },
        };
        mirrored.AddComponent<MeshCollider>().sharedMesh = mesh;
        mirrored.AddComponent<MeshFilter>().sharedMesh = mesh;
        mirrored.AddComponent<Renderer>().sharedMaterial = new Material { name = "Tiles" };
        return level;
    }

    static void Collect(bool drawn)
    {
        GameObject door;
        HeliosLevel level = Level(true, out door);
        Field(level, "fromRenderers", drawn);
        foreach (HeliosPart part in level.Collect())
        {
            HeliosVector p = part.Position, s = part.Size, c = part.Colour;
            HeliosRotation q = part.Rotation;
            string mesh = "";
            if (part.Vertices != null)
                foreach (HeliosVector v in part.Vertices) mesh += (mesh.Length > 0 ? ", " : "") + Text("[{0}, {1}, {2}]", v.X, v.Y, v.Z);
            string triangles = part.Triangles == null ? "" : string.Join(", ", part.Triangles);
            Console.WriteLine(Text("{{\"id\": {0}, \"shape\": \"{1}\", \"material\": \"{2}\", \"position\": [{3}, {4}, {5}], ", part.Id,
                part.Shape.ToString().ToLowerInvariant(), part.Material, p.X, p.Y, p.Z) +
                Text("\"rotation\": [{0}, {1}, {2}, {3}], \"size\": [{4}, {5}, {6}], ", q.X, q.Y, q.Z, q.W, s.X, s.Y, s.Z) +
                Text("\"colour\": [{0}, {1}, {2}], \"vertices\": [{3}], \"triangles\": [{4}]}}", c.X, c.Y, c.Z, mesh, triangles));
        }
        foreach (string warning in UnityEngine.Debug.Warnings) Console.Error.WriteLine(warning);
    }

    static string Text(string format, params object[] values) { return string.Format(CultureInfo.InvariantCulture, format, values); }

    static void Quad(Uri address)
    {
        GameObject door, eye = new GameObject("eye");
        eye.AddComponent<Camera>();
        Renderer screen = new GameObject("screen").AddComponent<Renderer>();
        screen.sharedMaterial = new Material();
        HeliosQuad quad = eye.AddComponent<HeliosQuad>();
        Field(quad, "host", address.Host);
        Field(quad, "port", address.Port);
        Field(quad, "screen", screen);
        Field(quad, "level", Level(false, out door));
        Invoke(quad, "OnEnable");
        quad.Happened("bell", "rung");
        Stopwatch since = Stopwatch.StartNew();
        while (since.ElapsedMilliseconds < 1500)
        {
            Time.unscaledTime = since.ElapsedMilliseconds / 1000f;
            if (since.ElapsedMilliseconds > 700) door.transform.localPosition = new Vector3(0, 3, 0);
            Invoke(quad, "Update");
            Thread.Sleep(5);
        }
        HeliosCounts counts = quad.Counts;
        Texture2D shown = (Texture2D)screen.material.mainTexture;
        Console.WriteLine(Text("{{\"controls\": {0}, \"answered\": {1}, \"applied\": {2}, \"width\": {3}, \"height\": {4}, \"raw\": \"{5}\"}}",
            counts.Controls, counts.Generated + counts.Reprojected + counts.Held, shown.applied, shown.width, shown.height,
            BitConverter.ToString(shown.raw).Replace("-", "").ToLowerInvariant()));
        Invoke(quad, "OnDisable");
    }

    // A tick as the sample's, with a move each tick.
    static void Tick(HeliosClient client, HeliosMove[] moves, int tick)
    {
        HeliosCamera camera = new HeliosCamera { Position = new HeliosVector(0, 1.6f, tick * 0.01f), Rotation = HeliosRotation.Identity, VerticalFovDegrees = 60 };
        HeliosNotice notice;
        HeliosFrame frame;
        while (client.TryTakeNotice(out notice)) { }
        client.TryTake(out frame);
        client.Send(ref camera, "walk");
        if (moves != null) client.UpdateScene(null, moves);
        Thread.Sleep(1);
    }

    static void Allocation(Uri address)
    {
        using (HeliosClient client = Client(address))
        {
            while (client.State != HeliosState.Open) Thread.Sleep(1);
            client.SetScene(new[] { new HeliosPart { Id = 1, Shape = HeliosShape.Box } });
            HeliosMove[] moves = { new HeliosMove { Id = 1, Rotation = HeliosRotation.Identity } };
            for (int i = 0; i < 300; i++) Tick(client, moves, i);
            HeliosCounts before = client.Counts;
            GC.Collect();
            int collections = GC.CollectionCount(0);
            for (int i = 0; i < 1000; i++) Tick(client, moves, i);
            collections = GC.CollectionCount(0) - collections;
            HeliosCounts after = client.Counts;
            long frames = after.Generated + after.Reprojected + after.Held - before.Generated - before.Reprojected - before.Held;
            // The same over what does allocate, 64 bytes a tick, to show that it would be seen.
            GC.Collect();
            int seen = GC.CollectionCount(0);
            for (int i = 0; i < 1000; i++) { Spilt = new byte[64]; Tick(client, moves, i); }
            seen = GC.CollectionCount(0) - seen;
            Console.WriteLine(Text("{{\"collections\": {0}, \"frames\": {1}, \"controls\": {2}, \"collections_when_spilling\": {3}}}",
                collections, frames, after.Controls - before.Controls, seen));
        }
    }

    public static byte[] Spilt; // public, so that no compiler leaves the allocation out

    static void Reload(string address)
    {
        for (int i = 0; i < 3; i++)
        {
            AppDomain domain = AppDomain.CreateDomain("game");
            domain.SetData("address", address);
            domain.DoCallBack(InDomain);
            Stopwatch since = Stopwatch.StartNew();
            AppDomain.Unload(domain);
            Console.WriteLine(Text("{{\"unload_ms\": {0}}}", since.ElapsedMilliseconds));
        }
    }

    static HeliosClient kept; // as a component of a scene keeps it; nobody disposes of it

    static void InDomain()
    {
        kept = Client(new Uri((string)AppDomain.CurrentDomain.GetData("address")));
        while (kept.State != HeliosState.Open) Thread.Sleep(1);
        for (int i = 0; i < 60; i++) Tick(kept, null, i);
    }
}
